//! Threads for query work, apart from those that keep the executor talking.
//!
//! Work runs on a tokio runtime of its own: a join that burns every core delays other query work, never a heartbeat. A
//! panic ends the work that panicked and nothing else. Dropping [`Work`] cancels it. Not here: what runs.

use std::{
    future::Future,
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::FutureExt;
use penstock_common::lifecycle::panic_message;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

/// DataFusion recurses deeply on deep plans.
const STACK_BYTES: usize = 16 << 20;

/// Where query work runs. A cheap handle; the threads end with the last one.
#[derive(Debug, Clone)]
pub struct CpuRuntime {
    handle: Handle,
    _owned: Option<Arc<Owned>>,
}

/// A runtime must not be dropped where one runs, so it is shut down without waiting.
#[derive(Debug)]
struct Owned(Option<Runtime>);

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Why work did not end by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    #[error("{message}")]
    Panicked { message: String },
    #[error("cancelled")]
    Cancelled,
}

impl CpuRuntime {
    pub fn dedicated(threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("penstock-cpu")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), _owned: Some(Arc::new(Owned(Some(runtime)))) })
    }

    /// The runtime of the caller, for simulations that own all time and threads.
    pub fn shared() -> Self {
        Self { handle: Handle::current(), _owned: None }
    }

    pub fn run<F>(&self, future: F) -> Work<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // Caught here and not by the runtime, which may be one that ends with the first panic.
        let caught = AssertUnwindSafe(future).catch_unwind();
        let caught = caught.map(|ended| ended.map_err(|panic| panic_message(panic.as_ref())));
        Work { join: self.handle.spawn(caught) }
    }
}

/// Work that runs; a future of its result.
#[derive(Debug)]
pub struct Work<T> {
    /// An error is what a panic said.
    join: JoinHandle<Result<T, String>>,
}

impl<T> Work<T> {
    /// Asks the work to end at its next await point. The future then resolves when it is gone.
    pub fn cancel(&self) {
        self.join.abort();
    }
}

impl<T> Future for Work<T> {
    type Output = Result<T, WorkError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.join).poll(cx).map(|ended| match ended {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(message)) => Err(WorkError::Panicked { message }),
            Err(_) => Err(WorkError::Cancelled),
        })
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        self.join.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_runs_on_threads_of_its_own() -> io::Result<()> {
        let name = CpuRuntime::dedicated(1)?.run(async { thread::current().name().map(str::to_owned) }).await;
        assert_eq!(name, Ok(Some("penstock-cpu".to_owned())));
        Ok(())
    }

    #[tokio::test]
    async fn a_panic_ends_only_the_work_that_panicked() -> io::Result<()> {
        let cpu = CpuRuntime::dedicated(1)?;
        let ended = cpu.run(async { panic!("index out of bounds") }).await;
        assert_eq!(
            ended,
            Err::<(), _>(WorkError::Panicked { message: "panicked: index out of bounds".to_owned() })
        );
        assert_eq!(cpu.run(async { 7 }).await, Ok(7));
        Ok(())
    }

    #[tokio::test]
    async fn dropping_work_drops_its_future() -> io::Result<()> {
        let cpu = CpuRuntime::dedicated(1)?;
        let (alive, gone) = oneshot::channel::<()>();
        drop(cpu.run(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        }));
        assert!(gone.await.is_err());
        Ok(())
    }
}
