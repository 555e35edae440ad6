//! Each role as a process: its flags, its start, and its orderly end.
//!
//! A role's flags are its configuration keys, made from its defaults, so that file, variables and flags always know the
//! same settings. Not here: what the settings mean.

use std::{
    collections::BTreeMap, convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration,
};

use anyhow::Context;
use futures::future::BoxFuture;
use penstock_common::{
    clock::{Clock, SystemClock},
    config::{self, Loaded, Reloaded},
    lifecycle::Tasks,
    net::{Network, Tcp},
    signal::{self, Hangups, Termination},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::exit::{Exit, Failed};

mod flags;
mod kinds;

pub use flags::RoleArgs;
pub use kinds::{Coordinator, Executor, HistoryServer, ShuffleMaster, ShuffleWorker};

/// How long a role may take to drain before its tasks are aborted.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// Addresses by what they are for: `rest`, `grpc`, `control`, `data`.
pub type Addresses = BTreeMap<&'static str, SocketAddr>;

/// Gives a running role new settings; says which it took and which need a restart.
pub type Reload<C> = Box<dyn Fn(C) -> anyhow::Result<Reloaded> + Send + Sync>;

/// What a role does before it stops, while it still takes calls.
pub type Drain = BoxFuture<'static, ()>;

/// A role that takes calls.
pub struct Started<C> {
    pub addresses: Addresses,
    /// None: all settings of this role need a restart.
    pub reload: Option<Reload<C>>,
    pub drain: Option<Drain>,
}

impl<C> From<Addresses> for Started<C> {
    fn from(addresses: Addresses) -> Self {
        Self { addresses, reload: None, drain: None }
    }
}

/// A kind of process.
pub trait Role: Send + Sync + 'static {
    const SECTION: &'static str;
    type Config: Default + Serialize + DeserializeOwned + Send;

    /// Starts the role; it takes calls when this returns and stops with `tasks`.
    fn start(
        config: Self::Config,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> impl Future<Output = anyhow::Result<Started<Self::Config>>> + Send;
}

pub fn load<R: Role>(
    file: Option<&Path>,
    flags: &BTreeMap<String, String>,
) -> anyhow::Result<Loaded<R::Config>> {
    config::load(R::SECTION, file, flags).map_err(|refused| Failed::usage(refused.to_string()).into())
}

/// Runs a role until it fails or a signal asks it to leave; a second signal ends its draining if it drains, and the next one
/// does not wait for anything.
pub async fn run<R: Role>(arguments: RoleArgs<R>) -> anyhow::Result<Exit> {
    let loaded = load::<R>(arguments.config.as_deref(), &arguments.settings)?;
    let tasks = Tasks::new(R::SECTION);
    penstock_common::telemetry::prometheus();
    let started = R::start(loaded.value, Arc::new(Tcp), Arc::new(SystemClock), tasks.clone()).await;
    let Started { addresses, reload, drain } = match started {
        Ok(started) => started,
        Err(cause) => {
            tasks.stop(Duration::from_secs(2)).await.ok();
            return Err(could_not_start::<R>(cause));
        }
    };
    tracing::info!(role = R::SECTION, ?addresses, build = penstock_protocol::build(), "ready");
    if let Some(path) = &arguments.ready_file {
        announce(path, &addresses)?;
    }
    let termination = tokio::select! {
        termination = signal::terminated() => termination,
        never = reload_at_hangups::<R>(&arguments, reload) => match never {},
        failure = tasks.failed() => {
            tasks.stop(STOP_DEADLINE).await.ok();
            return Err(Failed::new(Exit::Internal, failure.to_string()).into());
        }
    };
    if let Some(drain) = drain {
        tracing::info!(role = R::SECTION, "draining");
        tokio::select! {
            () = drain => {}
            _ = signal::terminated() => {}
            _ = tasks.failed() => {}
        }
    }
    tracing::info!(role = R::SECTION, "stopping");
    tokio::select! {
        stopped = tasks.stop(STOP_DEADLINE) => stopped.map(|()| Exit::Ok).map_err(Into::into),
        _ = signal::terminated() => Ok(exit_of(termination)),
    }
}

/// At each SIGHUP: the same file, variables and flags once more. What is wrong with them is logged, and nothing changes.
async fn reload_at_hangups<R: Role>(
    arguments: &RoleArgs<R>,
    reload: Option<Reload<R::Config>>,
) -> Infallible {
    let mut hangups = Hangups::listen();
    loop {
        hangups.next().await;
        let Some(reload) = &reload else {
            tracing::info!(role = R::SECTION, "settings of this role are read only when it starts");
            continue;
        };
        let loaded = load::<R>(arguments.config.as_deref(), &arguments.settings);
        match loaded.and_then(|loaded| reload(loaded.value)) {
            Ok(Reloaded { changed, refused }) if refused.is_empty() => {
                tracing::info!(role = R::SECTION, ?changed, "settings read again");
            }
            Ok(Reloaded { changed, refused }) => {
                tracing::warn!(
                    role = R::SECTION,
                    ?changed,
                    ?refused,
                    "settings read again; some need a restart"
                );
            }
            Err(error) => tracing::error!(role = R::SECTION, %error, "settings not read again"),
        }
    }
}

pub fn could_not_start<R: Role>(cause: anyhow::Error) -> anyhow::Error {
    let reasons: Vec<_> = cause.chain().map(ToString::to_string).collect();
    let port_in_use = cause.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::AddrInUse)
    });
    let exit = if port_in_use { Exit::Usage } else { Exit::Infrastructure };
    let mut said = String::new();
    for reason in reasons.iter().filter(|reason| !reason.is_empty()) {
        if !said.contains(reason.as_str()) {
            said = if said.is_empty() { reason.clone() } else { format!("{said}: {reason}") };
        }
    }
    Failed::new(exit, format!("the {} could not start: {said}", R::SECTION)).into()
}

fn exit_of(termination: Termination) -> Exit {
    match termination {
        Termination::Interrupt => Exit::Interrupted,
        Termination::Terminate => Exit::Terminated,
    }
}

/// Tells whoever waits for this process where it listens. The file appears complete.
fn announce(path: &Path, addresses: &Addresses) -> anyhow::Result<()> {
    let aside = path.with_extension("part");
    let write = || {
        std::fs::write(&aside, serde_json::to_vec(addresses)?)?;
        anyhow::Ok(std::fs::rename(&aside, path)?)
    };
    write().with_context(|| format!("writing {}", path.display()))
}
