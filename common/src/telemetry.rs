//! Logs and metrics of a process.
//!
//! Code logs with `tracing` and counts with the `metrics` facade; here both are switched on, once per process, and
//! rendered. Not here: what is logged or counted.

use std::{
    io::{self, IsTerminal},
    str::FromStr,
    sync::OnceLock,
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a log format: use `text` or `json`")]
pub struct UnknownLogFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;
    fn from_str(text: &str) -> Result<Self, UnknownLogFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownLogFormat(text.to_owned())),
        }
    }
}

/// The filter of a process that writes logs.
struct Filter {
    at_start: String,
    replace: Box<dyn Fn(EnvFilter) + Send + Sync>,
}

static FILTER: OnceLock<Filter> = OnceLock::new();

/// Writes logs to standard error. `PENSTOCK_LOG` replaces the default filter. Only the first call of a process counts.
pub fn init(format: LogFormat, default_filter: &str) {
    let filter = EnvFilter::try_from_env("PENSTOCK_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let at_start = filter.to_string();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let replace: Box<dyn Fn(EnvFilter) + Send + Sync>;
    let set = match format {
        LogFormat::Text => {
            let lines = lines.with_ansi(io::stderr().is_terminal()).with_filter_reloading();
            let handle = lines.reload_handle();
            replace = Box::new(move |filter| drop(handle.reload(filter)));
            lines.try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            replace = Box::new(move |filter| drop(handle.reload(filter)));
            lines.try_init()
        }
    };
    if set.is_ok() {
        FILTER.get_or_init(|| Filter { at_start, replace });
    }
    log_panics();
}

/// Whether logs can be filtered by this.
pub fn is_log_filter(filter: &str) -> bool {
    EnvFilter::try_new(filter).is_ok()
}

/// Filters the logs of this process by `filter` from now on; an empty one brings back that of its start. Does nothing in a
/// process without logs, and with what [`is_log_filter`] denies.
pub fn filter_logs(filter: &str) {
    let Some(logs) = FILTER.get() else { return };
    let wanted = if filter.is_empty() { &logs.at_start } else { filter };
    if let Ok(filter) = EnvFilter::try_new(wanted) {
        (logs.replace)(filter);
    }
}

/// A panic is caught where its task is owned, and told there; here it only gets into the log, with its place.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = crate::lifecycle::panic_message(panic.payload());
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%place, %backtrace, "{message}");
    }));
}

/// The process-wide metrics; installed at the first call, which roles make when they start.
pub fn prometheus() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed: /metrics stays empty");
            }
            handle
        })
        .clone()
}

/// The body of `GET /metrics`.
pub fn render_metrics() -> String {
    let handle = prometheus();
    handle.run_upkeep();
    handle.render()
}

/// `GET /metrics` and `GET /healthz` for roles that serve nothing else over HTTP.
pub fn routes() -> axum::Router {
    use axum::routing::get;
    axum::Router::new()
        .route("/metrics", get(|| async { render_metrics() }))
        .route("/healthz", get(|| async { "ok" }))
}
