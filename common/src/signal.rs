//! The signals that ask a process to leave.

use tokio::signal::unix::{SignalKind, signal};

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
