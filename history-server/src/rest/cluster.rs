//! `GET /api/v1/cluster`: machines as the newest jobs saw them, and shuffle workers as the log of the cluster knows them.

use axum::{Json, extract::State};
use penstock_protocol::event::ClusterLog;

use super::{ApiError, App};
use crate::view::{Cluster, Sightings};

/// Jobs whose logs one answer reads, the newest.
const JOBS_MAX: usize = 24;
/// Tasks that these jobs may have together; longer logs are left out, and counted.
const TASKS_MAX: u64 = 50_000;

/// Executors and shuffle workers as the logs of the newest jobs saw them, and how the shuffle workers stand by the log of
/// the cluster. Nobody asks the cluster itself.
#[utoipa::path(get, path = "/api/v1/cluster", responses((status = OK, body = Cluster)))]
pub async fn cluster(State(app): State<App>) -> Result<Json<Cluster>, ApiError> {
    let jobs = app.index.snapshot().await.jobs;
    let mut sightings = Sightings::default();
    let (mut tasks, mut skipped) = (0, 0);
    // Ids begin with the time.
    for (job, entry) in jobs.iter().rev().take(JOBS_MAX) {
        let more = u64::from(entry.summary.tasks_total);
        if tasks + more > TASKS_MAX {
            skipped += 1;
            continue;
        }
        tasks += more;
        if let Some(replay) = app.logs.open(*job).await? {
            let replay = replay.lock().await;
            let is_live = !entry.state.is_terminal() && replay.model().finished.is_none();
            sightings.add(*job, replay.model(), is_live);
        }
    }
    if let Some(bytes) = app.logs.source().cluster_log().await? {
        // One that cannot be read says nothing; the pages of jobs do not depend on it.
        match serde_json::from_slice::<ClusterLog>(&bytes) {
            Ok(log) => sightings.watched(log),
            Err(error) => tracing::warn!(%error, "the log of the cluster cannot be read"),
        }
    }
    Ok(Json(sightings.cluster(jobs.len(), skipped)))
}
