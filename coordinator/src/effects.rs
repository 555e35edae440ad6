//! Carries effects out, and turns what comes of them into events.
//!
//! What the core wants kept is written first, in one transaction; then the other effects start in the order in which
//! they were given. What takes time runs beside the loop and answers with an event. Not here: deciding anything.

mod dispatch;
mod jobs;
mod log;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use penstock_common::{
    clock::Timestamp,
    lifecycle::{OnFailure, Tasks},
};
use penstock_protocol::{
    ids::{Epoch, JobId, PartitionIndex, ShuffleId, StageId, StatementIndex, WorkerId},
    shuffle::{ShuffleTarget, Winner},
    task::{FailureClass, WrittenFile},
};

pub use self::{jobs::Jobs, log::summary};
use crate::{
    catalog::Tables,
    effect::Effect,
    event::Event,
    event_log::EventLog,
    event_loop::Inbox,
    grpc::executors::Executors,
    job::{JobFailure, JobSpec, JobStatus, Outputs},
    journal::Fact,
    metrics,
    planning::{Held, PlanRequest, Planner, PrepareRequest},
    publish::{Publication, Publisher},
    replies::Replies,
    results::Results,
    shuffles::ShuffleOwner,
    status_board::StatusBoard,
    store::{JobStore, StoreError, Write},
};

/// Everything that effects touch.
#[derive(Debug)]
pub struct Effects {
    pub store: Arc<dyn JobStore>,
    pub tables: Arc<Tables>,
    pub planner: Arc<dyn Planner>,
    pub shuffles: Arc<dyn ShuffleOwner>,
    pub results: Arc<Results>,
    pub publisher: Publisher,
    pub event_log: EventLog,
    pub executors: Arc<Executors>,
    pub board: Arc<StatusBoard>,
    pub replies: Arc<Replies>,
    pub inbox: Inbox,
    pub tasks: Tasks,
    /// Settings that every job starts from.
    pub settings: BTreeMap<String, String>,
    pub jobs: Jobs,
    /// Jobs whose shuffles must not expire.
    pub with_shuffles: Mutex<BTreeSet<JobId>>,
}

impl Effects {
    /// An error means that something could not be written: none of the other effects has started then.
    pub async fn carry_out(self: &Arc<Self>, effects: Vec<Effect>) -> Result<(), StoreError> {
        let (kept, rest) = split(effects);
        self.write(kept).await?;
        let mut summaries = BTreeMap::new();
        for effect in rest {
            self.start(effect, &mut summaries).await;
        }
        for (job, at) in summaries {
            self.write_summary(job, at).await;
        }
        Ok(())
    }

    async fn write(self: &Arc<Self>, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let over: Vec<_> = writes.iter().filter_map(publication_is_over).collect();
        let started = Instant::now();
        tokio::select! {
            biased;
            written = self.store.write(writes) => written?,
            stopped = self.stopped_without_room() => return Err(stopped),
        }
        metrics::took(metrics::STORE_WRITE_SECONDS, started.elapsed());
        for (job, statement) in over {
            self.forget_publications(job, statement);
        }
        Ok(())
    }

    /// Nobody waits for room for ever: what was not written was not promised either.
    async fn stopped_without_room(&self) -> StoreError {
        self.tasks.stop_token().cancelled().await;
        let reason = self.store.until_full().await;
        StoreError::Database {
            doing: "waiting for room for the job store",
            source: reason.to_string().into(),
        }
    }

    async fn start(self: &Arc<Self>, effect: Effect, summaries: &mut BTreeMap<JobId, Timestamp>) {
        match effect {
            // Split off before.
            Effect::InsertJob(_) | Effect::UpdateJob(_) | Effect::Journal { .. } => {}

            Effect::AnswerSubmit { request, answer } => self.replies.answer_submit(request, answer),
            Effect::AnswerCancel { request, answer } => self.replies.answer_cancel(request, answer),
            Effect::PublishStatus(status) => self.publish_status(status),
            Effect::Forget { job } => self.forget(job),

            Effect::PrepareScript { job, spec } => self.prepare(job, spec),
            Effect::PlanStatement { job, statement, first_stage, settings } => {
                self.plan(job, statement, first_stage, &settings);
            }

            Effect::ReserveShuffle { shuffle, partitions } => self.reserve(shuffle, partitions),
            Effect::ExtendShuffle { shuffle, wanted, suspects } => self.extend(shuffle, wanted, suspects),
            Effect::CloseEpochs { target } => self.close(target),
            Effect::CommitShuffle { target, winners } => self.commit(target, winners),
            Effect::ReleaseShuffles { job: _, shuffles } => self.release(shuffles),
            Effect::ReleaseJob { job } => self.release_job(job),

            Effect::Dispatch(dispatch) => self.dispatch(*dispatch),
            Effect::CancelAttempt { executor, incarnation, attempt } => {
                ignore_if_gone(self.executors.cancel(&executor, incarnation, attempt));
            }
            Effect::ReportTaken { executor, incarnation, attempt } => {
                // If it is not connected any more it sends the report again, which is harmless.
                ignore_if_gone(self.executors.report_taken(&executor, incarnation, attempt));
            }
            Effect::AnswerEpochs { executor, incarnation, request, outcome } => {
                ignore_if_gone(self.executors.epochs(&executor, incarnation, request, outcome));
            }
            Effect::ForgetJob { executor, incarnation, job } => {
                ignore_if_gone(self.executors.forget_job(&executor, incarnation, job));
            }
            Effect::DisconnectExecutor { executor, incarnation, reason } => {
                ignore_if_gone(self.executors.close(&executor, incarnation, &reason));
            }

            Effect::KeepResult { job, statement, result } => {
                if let Some(schema) = self.held(job, statement).and_then(|held| held.schema.clone()) {
                    self.results.keep(job, statement, schema, result);
                }
            }
            Effect::PublishSink { job, statement, files } => self.publish_sink(job, statement, files),
            Effect::DiscardSink { job, statement } => self.discard_sink(job, statement),
            Effect::ApplyCatalog { job, statement } => self.apply_catalog(job, statement),

            Effect::SignOfLife { job, at } => drop(summaries.insert(job, at)),
            Effect::Log { job, at, event } => self.log(job, at, event, summaries).await,
            Effect::Sample { job, at, event } => self.event_log.sample(job, at, event),
        }
    }

    fn publish_status(&self, status: Arc<JobStatus>) {
        if status.state.is_terminal() {
            log::count_finished(&status);
            self.jobs.ended(status.job);
        }
        self.board.publish(status);
    }

    fn forget(self: &Arc<Self>, job: JobId) {
        // Attempts that were slow to stop may have written after the sink was discarded.
        for (statement, sink) in self.jobs.sinks(job) {
            let publisher = self.publisher.clone();
            self.aside("discard-sink", async move { publisher.discard_finally(job, statement, sink).await });
        }
        self.results.forget(job);
        self.jobs.forget(job);
        self.board.forget(job);
    }

    fn prepare(self: &Arc<Self>, job: JobId, spec: Arc<JobSpec>) {
        self.jobs.insert(job, Arc::clone(&spec));
        let settings = Arc::new(self.layered(&spec.settings));
        let request = PrepareRequest { job, spec, settings, catalog: self.tables.snapshot() };
        let planner = Arc::clone(&self.planner);
        self.answer("prepare-script", async move {
            Event::ScriptPrepared { job, outcome: planner.prepare(request).await }
        });
    }

    fn plan(
        self: &Arc<Self>,
        job: JobId,
        statement: StatementIndex,
        first_stage: StageId,
        settings: &BTreeMap<String, String>,
    ) {
        let Some(spec) = self.jobs.spec(job) else { return missing(job, "plan a statement") };
        let settings = Arc::new(self.layered(settings));
        let catalog = self.tables.snapshot();
        let request = PlanRequest { job, spec, catalog, statement, first_stage, settings };
        let effects = Arc::clone(self);
        self.answer("plan-statement", async move {
            let planned = effects.planner.plan(request).await;
            let outcome = match planned {
                Ok(planned) => effects.hold(job, statement, planned.held).await.map(|()| planned.plan),
                Err(failure) => Err(failure),
            };
            Event::StatementPlanned { job, statement, outcome }
        });
    }

    async fn hold(&self, job: JobId, statement: StatementIndex, mut held: Held) -> Result<(), JobFailure> {
        if let Some(sink) = &held.sink {
            Publisher::accepts(sink)?;
            self.publisher.expect(job, statement, sink.clone()).await?;
        }
        if let (Some(schema), Some(rows)) = (&held.schema, held.rows.take()) {
            self.results.keep_batches(job, statement, Arc::clone(schema), rows);
        }
        self.jobs.hold(job, statement, held);
        Ok(())
    }

    fn reserve(self: &Arc<Self>, shuffle: ShuffleId, partitions: u32) {
        self.with_shuffles.lock().unwrap_or_else(PoisonError::into_inner).insert(shuffle.job);
        let shuffles = Arc::clone(&self.shuffles);
        if let Some(spec) = self.jobs.spec(shuffle.job) {
            let settings = self.layered(&spec.settings);
            let tags = settings.get(penstock_engine::settings::SHUFFLE_TAGS);
            shuffles.describe(shuffle.job, spec.owner.as_deref(), tags.map_or("", String::as_str));
        }
        self.answer("reserve-shuffle", async move {
            let outcome = shuffles.reserve(shuffle, partitions).await.map(Arc::new);
            Event::ShuffleReserved { shuffle, outcome }
        });
    }

    fn extend(
        self: &Arc<Self>,
        shuffle: ShuffleId,
        wanted: Vec<(PartitionIndex, Epoch)>,
        suspects: Vec<WorkerId>,
    ) {
        let shuffles = Arc::clone(&self.shuffles);
        self.answer("extend-shuffle", async move {
            let outcome = shuffles.extend(shuffle, &wanted, &suspects).await;
            Event::ShuffleExtended { shuffle, wanted, outcome }
        });
    }

    fn close(self: &Arc<Self>, target: Arc<ShuffleTarget>) {
        let shuffles = Arc::clone(&self.shuffles);
        self.aside("close-epochs", async move { shuffles.close_early(&target).await });
    }

    fn commit(self: &Arc<Self>, target: Arc<ShuffleTarget>, winners: Arc<[Winner]>) {
        let shuffles = Arc::clone(&self.shuffles);
        self.answer("commit-shuffle", async move {
            let outcome = shuffles.commit(&target, &winners).await;
            Event::ShuffleCommitted { shuffle: target.shuffle, outcome }
        });
    }

    fn release(self: &Arc<Self>, released: Vec<ShuffleId>) {
        let shuffles = Arc::clone(&self.shuffles);
        self.aside("release-shuffles", async move { shuffles.release(&released).await });
    }

    fn release_job(self: &Arc<Self>, job: JobId) {
        self.with_shuffles.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
        let shuffles = Arc::clone(&self.shuffles);
        self.aside("release-job", async move { shuffles.release_job(job).await });
    }

    fn publish_sink(self: &Arc<Self>, job: JobId, statement: StatementIndex, files: Vec<WrittenFile>) {
        let held = self.held(job, statement);
        let publisher = self.publisher.clone();
        self.answer("publish-sink", async move {
            let outcome = publish(&publisher, job, statement, held.as_deref(), files).await;
            Event::SinkPublished { job, statement, outcome }
        });
    }

    fn discard_sink(self: &Arc<Self>, job: JobId, statement: StatementIndex) {
        if let Some(sink) = self.held(job, statement).and_then(|held| held.sink.clone()) {
            let publisher = self.publisher.clone();
            self.aside("discard-sink", async move { publisher.discard(sink).await });
        }
    }

    fn apply_catalog(self: &Arc<Self>, job: JobId, statement: StatementIndex) {
        let (held, tables) = (self.held(job, statement), Arc::clone(&self.tables));
        self.answer("apply-catalog", async move {
            let outcome = match held.as_ref().and_then(|held| held.change.as_ref()) {
                Some(change) => tables.apply(change).await.map_err(JobFailure::from),
                None => Err(not_held()),
            };
            Event::CatalogApplied { job, statement, outcome }
        });
    }

    /// What became of these publications is in the journal.
    fn forget_publications(self: &Arc<Self>, job: JobId, statement: Option<StatementIndex>) {
        for (index, _) in self.jobs.sinks(job) {
            if statement.is_none_or(|statement| statement == index) {
                let publisher = self.publisher.clone();
                self.aside("forget-publication", async move { publisher.forget(job, index).await });
            }
        }
    }

    /// Looks for shuffle workers that are about to leave, unless nothing is shuffled.
    pub async fn look_for_leaving(self: &Arc<Self>) {
        if self.with_shuffles.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return;
        }
        let workers = self.shuffles.leaving().await;
        if !workers.is_empty() {
            self.answer("workers-leaving", async move { Event::WorkersLeaving { workers } });
        }
    }

    /// Renews all shuffles that somebody may still read.
    pub async fn keep_alive(&self) {
        let jobs: Vec<JobId> =
            self.with_shuffles.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        if !jobs.is_empty() {
            self.shuffles.keep_alive(&jobs).await;
        }
    }

    /// Takes back a submission whose client was told that it was not taken, should it have been on its way.
    pub fn take_back(self: &Arc<Self>, job: JobId) {
        let reason = "its submission was refused for lack of room".to_owned();
        let cancel = Event::Cancel { request: None, job, reason, grace: Duration::ZERO };
        self.answer("take-back", async move { cancel });
    }

    fn held(&self, job: JobId, statement: StatementIndex) -> Option<Arc<Held>> {
        self.jobs.held(job, statement)
    }

    /// A job's settings above those of the configuration.
    pub fn layered(&self, settings: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut layered = self.settings.clone();
        layered.extend(settings.iter().map(|(key, value)| (key.clone(), value.clone())));
        layered
    }

    /// Runs beside the loop and hands it the event that comes out.
    fn answer(self: &Arc<Self>, name: &'static str, work: impl Future<Output = Event> + Send + 'static) {
        let inbox = self.inbox.clone();
        self.aside(name, async move { inbox.send(work.await).await });
    }

    /// Runs beside the loop until it ends or the coordinator stops.
    fn aside(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.tasks.stop_token();
        self.tasks.spawn(name, OnFailure::Log, async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
            Ok::<(), Infallible>(())
        });
    }
}

/// What goes to the store, and the rest, both in order.
fn split(effects: Vec<Effect>) -> (Vec<Write>, Vec<Effect>) {
    let (mut writes, mut rest) = (Vec::new(), Vec::with_capacity(effects.len()));
    for effect in effects {
        match effect {
            Effect::InsertJob(record) => writes.push(Write::InsertJob(record)),
            Effect::UpdateJob(record) => writes.push(Write::UpdateJob(record)),
            Effect::Journal { job, record } => writes.push(Write::Append { job, record }),
            other => rest.push(other),
        }
    }
    (writes, rest)
}

/// The publication, or all publications of the job, whose outcome this record tells.
fn publication_is_over(write: &Write) -> Option<(JobId, Option<StatementIndex>)> {
    match write {
        Write::Append { job, record } => match &record.fact {
            Fact::StatementFinished { statement, .. } => Some((*job, Some(*statement))),
            Fact::Finished { .. } => Some((*job, None)),
            _ => None,
        },
        Write::InsertJob(_) | Write::UpdateJob(_) => None,
    }
}

async fn publish(
    publisher: &Publisher,
    job: JobId,
    statement: StatementIndex,
    held: Option<&Held>,
    files: Vec<WrittenFile>,
) -> Result<Outputs, JobFailure> {
    let held = held.ok_or_else(not_held)?;
    let sink = held.sink.clone().ok_or_else(not_held)?;
    let publication = Publication { job, statement, sink, files, then: held.change.clone() };
    Ok(publisher.publish(publication).await?)
}

fn not_held() -> JobFailure {
    JobFailure::new(FailureClass::Internal, "the statement's plan is not held any more", None)
}

/// The core asked for something of a job that it was told to forget: a bug, but never a reason to stop.
fn missing(job: JobId, what: &'static str) {
    tracing::error!(%job, what, "the job is not known to the shell");
}

fn ignore_if_gone<E: std::fmt::Display>(sent: Result<(), E>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "a message for an executor was not sent");
    }
}
