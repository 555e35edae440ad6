//! What a start does about the coordinator's former life.
//!
//! Publications that were begun are finished, so that a sink shows all of its output. Jobs that were not over cannot be
//! run on yet: a job whose last statement was published has succeeded, every other one failed by the restart.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use penstock_common::{
    clock::Timestamp,
    lifecycle::{OnFailure, Tasks},
};
use penstock_engine::catalog::CatalogError;
use penstock_protocol::{
    event::{Event, JobFinished, JobState},
    ids::JobId,
};

use super::StartError;
use crate::{
    catalog::{Tables, TablesError},
    effects::summary,
    event_log::EventLog,
    job::{JobStatus, StatementState},
    publish::{Publication, PublishError, Publisher},
    shuffles::Shuffles,
    store::{JobRecord, JobStore, Write},
};

/// Executors stop the former life's tasks as soon as they have connected to this one.
const TASKS_STOP_WITHIN: Duration = Duration::from_secs(60);

/// Says which jobs ended by it.
pub(super) async fn finish_former_life(
    store: &Arc<dyn JobStore>,
    tables: &Tables,
    publisher: &Publisher,
    event_log: &EventLog,
    now: Timestamp,
) -> Result<Vec<JobId>, StartError> {
    let published = publisher.roll_forward()?;
    for publication in &published {
        change_catalog(tables, publication).await?;
    }
    let succeeded = end_published(store, &published, now).await?;
    let failed = store.fail_unfinished(now).await.map_err(StartError::Recovery)?;
    for record in succeeded.iter().chain(&failed) {
        write_end(event_log, &record.status, now).await;
    }
    for publication in &published {
        publisher.forget(publication.job, publication.statement).await;
    }
    Ok(succeeded.iter().chain(&failed).map(JobRecord::job).collect())
}

/// Frees what the former life's jobs held; nobody waits for it.
pub(super) async fn clean_up(
    ended: Vec<JobId>,
    publisher: &Publisher,
    shuffles: &Arc<dyn Shuffles>,
    tasks: &Tasks,
) -> Result<(), StartError> {
    // Before anything new begins: sinks of this life must not be touched.
    let left_over = publisher.left_over()?;
    let (publisher, shuffles, stop) = (publisher.clone(), Arc::clone(shuffles), tasks.stop_token());
    tasks.spawn("clean-up", OnFailure::Log, async move {
        publisher.discard_left_over(left_over.clone(), false).await?;
        for job in ended {
            shuffles.release_job(job).await;
        }
        tokio::select! {
            () = stop.cancelled() => Ok::<(), PublishError>(()),
            () = tokio::time::sleep(TASKS_STOP_WITHIN) => publisher.discard_left_over(left_over, true).await,
        }
    });
    Ok(())
}

async fn change_catalog(tables: &Tables, publication: &Publication) -> Result<(), StartError> {
    let Some(change) = &publication.then else { return Ok(()) };
    match tables.apply(change).await {
        // Done before the former life ended.
        Err(TablesError::Catalog(CatalogError::Exists(_) | CatalogError::Missing(_))) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Jobs of which nothing was left to do but to say so.
async fn end_published(
    store: &Arc<dyn JobStore>,
    published: &[Publication],
    now: Timestamp,
) -> Result<Vec<JobRecord>, StartError> {
    let by_job: BTreeMap<JobId, &Publication> =
        published.iter().map(|publication| (publication.job, publication)).collect();
    let unfinished = store.unfinished().await.map_err(StartError::Recovery)?;
    let ended: Vec<JobRecord> = unfinished
        .iter()
        .filter_map(|record| succeeded(&record.status, by_job.get(&record.job())?, now))
        .map(|status| JobRecord { status: Arc::new(status) })
        .collect();
    let writes = ended.iter().map(|record| Write::UpdateJob(Box::new(record.clone()))).collect();
    store.write(writes).await.map_err(StartError::Recovery)?;
    Ok(ended)
}

fn succeeded(status: &JobStatus, publication: &Publication, now: Timestamp) -> Option<JobStatus> {
    let mut status = status.clone();
    let last = status.statements.last_mut()?;
    if last.index != publication.statement {
        return None;
    }
    let outputs = publication.outputs();
    last.state = StatementState::Succeeded;
    last.rows = Some(outputs.rows);
    last.outputs = Some(outputs);
    status.state = JobState::Succeeded;
    status.finished_at = Some(now);
    status.version += 1;
    Some(status)
}

async fn write_end(event_log: &EventLog, status: &JobStatus, now: Timestamp) {
    tracing::warn!(job = %status.job, state = ?status.state, "a job of the former life has ended");
    let failure = status.failure.as_ref().map(|failure| failure.failure.clone());
    let finished = JobFinished { state: status.state, failure, totals: status.totals.clone() };
    event_log.record(status.job, now, Event::JobFinished(finished)).await;
    event_log.summary(summary(status, now)).await;
}
