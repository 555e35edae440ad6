//! Starts the server: its store, its list, its listener.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use penstock_common::{
    clock::Clock,
    http,
    lifecycle::{OnFailure, Tasks},
    net::Network,
    telemetry,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, InvalidConfig},
    index::{Index, describe},
    logs::Logs,
    rest::{self, App},
    source::{Source, SourceError},
};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("listening on {address}")]
    Bind {
        address: String,
        #[source]
        source: io::Error,
    },
}

/// A started server. It lives as long as its tasks.
#[derive(Debug, Clone)]
pub struct Handle {
    pub http_addr: SocketAddr,
}

impl Handle {
    /// Where a browser finds the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.http_addr)
    }
}

/// Returns once the server listens; the list of jobs is read after that.
pub async fn start(
    config: Config,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) -> Result<Handle, StartError> {
    config.validate()?;
    telemetry::prometheus();
    let source = Source::open(&config.event_log)?;
    let logs = Arc::new(Logs::new(source.clone(), config.cached_attempts_max));
    let lost_after = Duration::from_secs(config.lost_after_seconds);
    let index = Arc::new(Index::new(source, logs.clone(), clock.clone(), lost_after));

    let failed = |source| StartError::Bind { address: config.listen.clone(), source };
    let listener = network.bind(&config.listen).await.map_err(failed)?;
    let http_addr = listener.local_addr().map_err(failed)?;

    let refresh = Duration::from_secs(config.refresh_seconds);
    let stop = tasks.stop_token();
    tasks.spawn("index", OnFailure::StopAll, keep_fresh(index.clone(), refresh, stop.clone()));
    let router = rest::router(App { index, logs, clock });
    tasks.spawn("http", OnFailure::StopAll, http::serve(listener, router, stop));
    tracing::info!(%http_addr, event_log = config.event_log, "history server listens");
    Ok(Handle { http_addr })
}

/// Looks at the store again and again; slow stores are left alone for ten times as long as a look takes.
async fn keep_fresh(index: Arc<Index>, every: Duration, stop: CancellationToken) -> Result<(), SourceError> {
    loop {
        let started = tokio::time::Instant::now();
        if let Err(error) = index.refresh().await {
            tracing::warn!(error = describe(&error), "cannot list jobs");
        }
        let pause = every.max(started.elapsed() * 10);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
