//! The executor's side of its conversation with the coordinator.
//!
//! One loop owns the workload: it opens the stream, opens it again with growing waits when it broke, carries out orders,
//! sends heartbeats and reports. Attempts go on running whatever happens to the stream. Not here: how an attempt runs
//! ([`crate::attempt`]), when to leave ([`crate::drain`]).

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use penstock_common::retry::Backoff;
use penstock_protocol::{
    BUILD,
    ids::{ExecutorId, Incarnation},
    task::AttemptReport,
    wire::executor::{Heartbeat, Hello, ToCoordinator, ToExecutor},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    drain::{Drain, Remains, Step},
    epochs::Epochs,
    metrics,
    sample::Sampler,
    server::Status,
    stream::{Connector, OpenError, Stream, StreamError},
    workload::{Ended, Workload},
};

const RECONNECT_BASE: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// Why an executor ends although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AgentError(#[from] OpenError);

/// Who the executor says it is.
#[derive(Debug, Clone)]
pub struct Identity {
    pub executor: ExecutorId,
    pub incarnation: Incarnation,
    pub host: String,
    pub memory_bytes: u64,
}

pub struct Agent {
    pub identity: Identity,
    pub connector: Connector,
    pub workload: Workload,
    pub ended: Ended,
    pub epochs: Arc<Epochs>,
    pub sampler: Sampler,
    pub status: watch::Sender<Status>,
    pub drain_deadline: Duration,
    /// Asks the executor to drain and leave.
    pub stop: CancellationToken,
    pub drain: Option<Drain>,
}

/// What happens whether or not there is a stream.
enum Inner {
    Ended(Box<AttemptReport>),
    Drain(Step),
}

/// Nothing is left to do: the executor may go.
struct Leave;

impl Agent {
    /// Until the executor has left.
    pub async fn run(mut self) -> Result<(), AgentError> {
        let mut backoff = new_backoff();
        loop {
            let opening = self.connector.clone().open(self.hello());
            match self.meanwhile(opening).await {
                Err(Leave) => break,
                Ok(Err(refused @ OpenError::Refused { .. })) => {
                    self.status.send_replace(Status::Refused);
                    return Err(refused.into());
                }
                Ok(Err(error)) => warn!(%error, "no stream to the coordinator"),
                Ok(Ok(stream)) => {
                    backoff = new_backoff();
                    match self.converse(stream).await {
                        Ok(Leave) => break,
                        Err(error) => warn!(%error, "stream to the coordinator ended"),
                    }
                }
            }
            let wait = backoff.next().unwrap_or(RECONNECT_MAX);
            if self.meanwhile(sleep(wait)).await.is_err() {
                break;
            }
        }
        info!(executor = %self.identity.executor, "executor left");
        self.status.send_replace(Status::Left);
        Ok(())
    }

    fn hello(&self) -> Hello {
        let Identity { executor, incarnation, host, memory_bytes } = self.identity.clone();
        Hello {
            build: BUILD.to_owned(),
            executor,
            incarnation,
            slots: self.workload.slots(),
            host,
            memory_bytes,
            running: self.workload.unfinished(),
        }
    }

    /// Waits for `future` without a stream: attempts end meanwhile, and it may become time to leave.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Leave> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                inner = self.next_inner(false) => if self.without_stream(inner).is_some() { return Err(Leave) },
                output = &mut future => return Ok(output),
            }
        }
    }

    fn without_stream(&mut self, inner: Inner) -> Option<Leave> {
        match inner {
            Inner::Ended(report) => {
                self.workload.ended(*report);
                None
            }
            Inner::Drain(Step::Leave) => Some(Leave),
            Inner::Drain(step) => {
                self.obey(step);
                None
            }
        }
    }

    /// Over an open stream, until it breaks or the executor has left.
    async fn converse(&mut self, mut stream: Stream) -> Result<Leave, StreamError> {
        info!(executor = %self.identity.executor, "connected to the coordinator");
        let _connected = metrics::Connected::new();
        self.status.send_replace(if self.drain.is_some() { Status::Draining } else { Status::Connected });
        let result = self.exchange(&mut stream).await;
        match &result {
            Ok(Leave) => stream.close().await,
            Err(_) => {
                self.status.send_if_modified(|status| {
                    let was_connected = *status == Status::Connected;
                    if was_connected {
                        *status = Status::Connecting;
                    }
                    was_connected
                });
            }
        }
        result
    }

    async fn exchange(&mut self, stream: &mut Stream) -> Result<Leave, StreamError> {
        self.workload.reconnected();
        if self.workload.is_draining() {
            stream.send(ToCoordinator::Draining).await?;
        }
        for report in self.workload.undelivered() {
            stream.send(ToCoordinator::Report(Box::new(report.clone()))).await?;
        }
        let epochs = Arc::clone(&self.epochs);
        epochs.ask_again();
        let mut heartbeat = interval(stream.heartbeat_interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                inner = self.next_inner(true) => if let Some(leave) = self.with_stream(inner, stream).await? {
                    return Ok(leave);
                },
                order = stream.next() => self.obey_order(order?, stream).await?,
                request = epochs.next() => stream.send(ToCoordinator::Epochs(request)).await?,
                _ = heartbeat.tick() => stream.send(ToCoordinator::Heartbeat(self.heartbeat())).await?,
            }
        }
    }

    async fn obey_order(&mut self, order: ToExecutor, stream: &Stream) -> Result<(), StreamError> {
        if let ToExecutor::Epochs { request, outcome } = order {
            self.epochs.answer(request, outcome);
            return Ok(());
        }
        match self.workload.take(order).cloned() {
            Some(report) => stream.send(ToCoordinator::Report(Box::new(report))).await,
            None => Ok(()),
        }
    }

    async fn with_stream(&mut self, inner: Inner, stream: &Stream) -> Result<Option<Leave>, StreamError> {
        match inner {
            Inner::Ended(report) => {
                let report = Box::new(self.workload.ended(*report).clone());
                stream.send(ToCoordinator::Report(report)).await?;
                Ok(None)
            }
            Inner::Drain(Step::Leave) => Ok(Some(Leave)),
            Inner::Drain(step) => {
                let begins = !self.workload.is_draining();
                self.obey(step);
                if begins {
                    stream.send(ToCoordinator::Draining).await?;
                }
                Ok(None)
            }
        }
    }

    /// The next thing that happens inside; cancel safe.
    async fn next_inner(&mut self, connected: bool) -> Inner {
        loop {
            let Some(drain) = &mut self.drain else {
                return tokio::select! {
                    biased;
                    () = self.stop.cancelled() => {
                        let now = Instant::now();
                        self.drain = Some(Drain::begin(now, self.drain_deadline));
                        // There is nothing to do yet; the loops announce the drain.
                        Inner::Drain(Step::WaitUntil(now))
                    }
                    Some(report) = self.ended.recv() => Inner::Ended(Box::new(report)),
                };
            };
            let remains = Remains {
                idle: self.workload.is_idle(),
                owes_nothing: self.workload.owes_nothing(),
                connected,
            };
            match drain.step(Instant::now(), remains) {
                Step::WaitUntil(at) => tokio::select! {
                    biased;
                    Some(report) = self.ended.recv() => return Inner::Ended(Box::new(report)),
                    () = sleep_until(at) => {}
                },
                step => return Inner::Drain(step),
            }
        }
    }

    fn obey(&mut self, step: Step) {
        if !self.workload.is_draining() {
            info!(executor = %self.identity.executor, "draining: no new attempts are taken");
            self.workload.drain();
            self.status.send_replace(Status::Draining);
        }
        if step == Step::HandBack {
            warn!("running attempts did not end within the drain deadline and are handed back");
            self.workload.cancel_all();
        }
    }

    fn heartbeat(&mut self) -> Heartbeat {
        Heartbeat { sample: self.sampler.sample(), progress: self.workload.progress() }
    }
}

fn new_backoff() -> Backoff {
    Backoff::new(RECONNECT_BASE, RECONNECT_MAX)
}
