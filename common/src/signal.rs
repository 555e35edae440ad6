//! The signals that ask a process to leave, or to read its settings again.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Which signal it was: decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    Interrupt,
    Terminate,
}

/// Resolves at SIGTERM or SIGINT. A process that cannot install handlers waits forever and keeps the default action.
pub async fn terminated() -> Termination {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signal handlers cannot be installed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Termination::Interrupt,
        _ = terminate.recv() => Termination::Terminate,
    }
}

/// SIGHUPs, of which none is lost between two calls. Several in a row may come as one.
#[derive(Debug)]
pub struct Hangups(Option<Signal>);

impl Hangups {
    /// From now on a SIGHUP does not end the process.
    pub fn listen() -> Self {
        Self(signal(SignalKind::hangup()).ok())
    }

    pub async fn next(&mut self) {
        let heard = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
