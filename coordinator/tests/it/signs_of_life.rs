//! A job in which nothing happens, as readers of the event log see it.

use std::{path::Path, sync::Arc, time::Duration};

use penstock_common::clock::{Clock, SystemClock, TestClock};
use penstock_protocol::event::Summary;

use crate::cluster::Cluster;

#[tokio::test]
async fn the_summary_of_a_silent_job_stays_young() {
    let clock = Arc::new(TestClock::at(SystemClock.now()));
    let cluster = Cluster::start_at(clock.clone(), |_| {}).await;
    // No executor: it waits and waits.
    let job = cluster.submit("select 1").await;
    let path = cluster.folder.join("state/events").join(&job).join("summary.json");
    written_since(&path, 0).await;
    for _ in 0..3 {
        clock.advance(Duration::from_secs(31));
        written_since(&path, clock.now().as_millis()).await;
    }
    cluster.stop().await;
}

/// Waits until the summary says that it was written then or later.
async fn written_since(path: &Path, at_ms: i64) {
    let written = async {
        loop {
            let summary = tokio::fs::read(path).await.ok();
            let summary: Option<Summary> = summary.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if summary.is_some_and(|summary| summary.updated_at_ms >= at_ms) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.expect("the summary is written again");
}
