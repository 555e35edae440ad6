//! Named tasks with an owner: each is stopped, joined and, when it fails, reported.
//!
//! Decided here: who waits for whom, and what a failure does. A [`Tasks`] stops together with its parent. Not here:
//! what the tasks do, signals, exit codes.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::{sync::watch, task::AbortHandle};
pub use tokio_util::sync::CancellationToken;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tracing::{debug, error, warn};

/// How long aborted tasks get to reach their next await point before `stop` gives up on them.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// What the failure of a task does to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The owner cannot go on: its other tasks are told to stop, and `failed` resolves here and at all parents.
    StopAll,
    /// The failure is logged and stays without consequences.
    Log,
}

/// The first failure that stopped an owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {task} failed: {reason}")]
pub struct TaskFailure {
    pub task: String,
    pub reason: String,
}

/// Tasks that did not end within the deadline and were aborted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these tasks did not stop in time and were aborted: {}", .tasks.join(", "))]
pub struct Stragglers {
    pub tasks: Vec<String>,
}

/// The owner of a set of tasks; a cheap handle.
#[derive(Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    parent: Option<Arc<Inner>>,
    children: Mutex<Vec<Weak<Inner>>>,
    stop: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<BTreeMap<u64, Running>>,
    next: AtomicU64,
    failure: watch::Sender<Option<TaskFailure>>,
}

struct Running {
    name: &'static str,
    /// None between the registration and the return of tokio's `spawn`.
    abort: Option<AbortHandle>,
}

impl Tasks {
    pub fn new(name: impl Into<String>) -> Self {
        Self { inner: Arc::new(Inner::new(name.into(), None, CancellationToken::new())) }
    }

    /// An owner of its own that stops with this one and whose failures are also this one's.
    pub fn child(&self, name: impl Into<String>) -> Self {
        let name = format!("{}/{}", self.inner.name, name.into());
        let child = Arc::new(Inner::new(name, Some(Arc::clone(&self.inner)), self.inner.stop.child_token()));
        let mut children = lock(&self.inner.children);
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child));
        drop(children);
        Self { inner: child }
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Cancelled when this owner or a parent stops.
    pub fn stop_token(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// Runs `future` on the current runtime until it ends. A panic is a failure like an error.
    pub fn spawn<F, E>(&self, name: &'static str, on_failure: OnFailure, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let registration = Registration::new(Arc::clone(&self.inner), name);
        let id = registration.id;
        let owner = Arc::clone(&self.inner);
        let run = async move {
            let _registration = registration;
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => owner.task_failed(name, on_failure, cause.to_string()),
                Err(panic) => owner.task_failed(name, on_failure, panic_message(panic.as_ref())),
            }
        };
        let handle = tokio::spawn(run).abort_handle();
        if let Some(running) = lock(&self.inner.running).get_mut(&id) {
            running.abort = Some(handle);
        }
    }

    /// Tells all tasks to stop, children included, and waits for them; aborts what is left after the deadline.
    pub async fn stop(&self, deadline: Duration) -> Result<(), Stragglers> {
        self.inner.stop.cancel();
        self.inner.tracker.close();
        if tokio::time::timeout(deadline, self.inner.tracker.wait()).await.is_ok() {
            return Ok(());
        }
        let mut tasks = Vec::new();
        self.inner.abort_all(&mut tasks);
        warn!(owner = %self.inner.name, ?tasks, "tasks did not stop in time");
        if tokio::time::timeout(ABORT_GRACE, self.inner.tracker.wait()).await.is_err() {
            error!(owner = %self.inner.name, "aborted tasks still run: they block their thread");
        }
        Err(Stragglers { tasks })
    }

    /// Resolves with the first failure that was spawned with [`OnFailure::StopAll`], here or at a child.
    pub async fn failed(&self) -> TaskFailure {
        let mut failure = self.inner.failure.subscribe();
        loop {
            if let Some(failure) = failure.borrow_and_update().clone() {
                return failure;
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running: Vec<_> = lock(&self.inner.running).values().map(|task| task.name).collect();
        f.debug_struct("Tasks").field("name", &self.inner.name).field("running", &running).finish()
    }
}

impl Inner {
    fn new(name: String, parent: Option<Arc<Inner>>, stop: CancellationToken) -> Self {
        Self {
            name,
            parent,
            children: Mutex::default(),
            stop,
            tracker: TaskTracker::new(),
            running: Mutex::default(),
            next: AtomicU64::new(0),
            failure: watch::Sender::new(None),
        }
    }

    fn ancestry(self: &Arc<Self>) -> impl Iterator<Item = Arc<Self>> {
        std::iter::successors(Some(Arc::clone(self)), |owner| owner.parent.clone())
    }

    fn task_failed(self: &Arc<Self>, task: &'static str, on_failure: OnFailure, reason: String) {
        let task = format!("{}/{task}", self.name);
        match on_failure {
            OnFailure::Log => warn!(%task, %reason, "task failed"),
            OnFailure::StopAll => {
                error!(%task, %reason, "task failed, its owner stops");
                let failure = TaskFailure { task, reason };
                for owner in self.ancestry() {
                    owner.failure.send_if_modified(|first| {
                        let is_first = first.is_none();
                        if is_first {
                            *first = Some(failure.clone());
                        }
                        is_first
                    });
                }
                self.stop.cancel();
            }
        }
    }

    fn abort_all(&self, names: &mut Vec<String>) {
        for task in lock(&self.running).values() {
            names.push(format!("{}/{}", self.name, task.name));
            if let Some(abort) = &task.abort {
                abort.abort();
            }
        }
        let children: Vec<_> = lock(&self.children).iter().filter_map(Weak::upgrade).collect();
        for child in children {
            child.abort_all(names);
        }
    }
}

/// A running task's entry with its owner; goes when the task's future is dropped, however that comes.
struct Registration {
    id: u64,
    owner: Arc<Inner>,
    _tracked: Vec<TaskTrackerToken>,
}

impl Registration {
    fn new(owner: Arc<Inner>, name: &'static str) -> Self {
        if owner.stop.is_cancelled() {
            debug!(owner = %owner.name, task = name, "task starts while its owner stops");
        }
        let id = owner.next.fetch_add(1, Ordering::Relaxed);
        lock(&owner.running).insert(id, Running { name, abort: None });
        let tracked = owner.ancestry().map(|owner| owner.tracker.token()).collect();
        Self { id, owner, _tracked: tracked }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.owner.running).remove(&self.id);
    }
}

/// The maps are whole at every point where a holder could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text that a panic was raised with.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests;
