//! What every store must do; run on each implementation.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{JobState, JobTotals},
    ids::JobId,
};

use super::{JobFilter, JobRecord, JobStore, StoreError, Write};
use crate::{
    job::{JobSpec, JobStatus, Progress},
    journal::{Fact, Record},
};

pub fn job(number: u128) -> JobRecord {
    let spec = JobSpec {
        name: format!("Job {number}"),
        sql: "select 1".to_owned(),
        idempotency_key: Some(format!("key {}", number % 3)),
        scope_key: Some("scope".to_owned()),
        client: "rest".to_owned(),
        ..JobSpec::default()
    };
    let status = JobStatus {
        job: id(number),
        definition_hash: spec.definition_hash(),
        spec: Arc::new(spec),
        try_number: 1,
        continues: None,
        state: JobState::Queued,
        version: 1,
        waiting: None,
        submitted_at: Timestamp::from_millis(number as i64),
        started_at: None,
        finished_at: None,
        progress: Progress::default(),
        totals: JobTotals::default(),
        failure: None,
        statements: Vec::new(),
        reruns: Vec::new(),
    };
    JobRecord { status: Arc::new(status) }
}

fn id(number: u128) -> JobId {
    JobId(uuid::Uuid::from_u128(number))
}

pub fn submitted(record: &JobRecord) -> Write {
    let spec = Box::new((*record.status.spec).clone());
    let fact = Fact::Submitted { spec, try_number: 1, continues: None };
    Write::Append { job: record.job(), record: Record { at: record.status.submitted_at, fact } }
}

fn ended(record: &JobRecord, state: JobState) -> JobRecord {
    let mut status = JobStatus::clone(&record.status);
    status.state = state;
    status.finished_at = Some(Timestamp::from_millis(1_000));
    JobRecord { status: Arc::new(status) }
}

fn insert(record: &JobRecord) -> Write {
    Write::InsertJob(Box::new(record.clone()))
}

pub async fn run(store: &dyn JobStore) {
    a_batch_of_writes_is_all_or_nothing(store).await;
    jobs_are_found_by_id_key_and_scope(store).await;
    lists_are_newest_first_in_pages(store).await;
    journals_keep_their_order(store).await;
    a_restart_fails_what_was_unfinished(store).await;
    tables_come_and_go(store).await;
    old_jobs_are_pruned(store).await;
}

async fn a_batch_of_writes_is_all_or_nothing(store: &dyn JobStore) {
    let first = job(1);
    store.write(vec![insert(&first)]).await.unwrap();
    let error = store.write(vec![insert(&job(9)), insert(&first)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists { job } if job == first.job()), "{error}");
    assert_eq!(store.job(id(9)).await.unwrap(), None);
    let error = store.write(vec![submitted(&job(9))]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
    let error = store.write(vec![Write::UpdateJob(Box::new(job(9)))]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
    store.write(Vec::new()).await.unwrap();
}

async fn jobs_are_found_by_id_key_and_scope(store: &dyn JobStore) {
    for number in 2..=7 {
        store.write(vec![insert(&job(number)), submitted(&job(number))]).await.unwrap();
    }
    assert_eq!(store.job(id(3)).await.unwrap(), Some(job(3)));
    assert_eq!(store.job(id(99)).await.unwrap(), None);
    assert_eq!(store.job_by_key("key 1").await.unwrap(), Some(job(7).stored_key()));
    assert_eq!(store.job_by_key("key 9").await.unwrap(), None);
    assert_eq!(store.job_by_scope("scope").await.unwrap(), Some(job(7).stored_key()));
    let done = ended(&job(7), JobState::Succeeded);
    store.write(vec![Write::UpdateJob(Box::new(done.clone()))]).await.unwrap();
    assert_eq!(store.job_by_key("key 1").await.unwrap().unwrap().state, JobState::Succeeded);
    assert_eq!(store.job(id(7)).await.unwrap(), Some(done));
}

async fn lists_are_newest_first_in_pages(store: &dyn JobStore) {
    let ids = |records: Vec<JobRecord>| records.iter().map(|r| r.job().0.as_u128()).collect::<Vec<_>>();
    let page = JobFilter { limit: 3, ..JobFilter::default() };
    assert_eq!(ids(store.jobs(&page).await.unwrap()), [7, 6, 5]);
    let next = JobFilter { before: Some(id(5)), ..page };
    assert_eq!(ids(store.jobs(&next).await.unwrap()), [4, 3, 2]);
    let named = JobFilter { name: Some("jOB 4".to_owned()), ..JobFilter::default() };
    assert_eq!(ids(store.jobs(&named).await.unwrap()), [4]);
    let done = JobFilter { states: vec![JobState::Succeeded, JobState::Failed], ..JobFilter::default() };
    assert_eq!(ids(store.jobs(&done).await.unwrap()), [7]);
}

async fn journals_keep_their_order(store: &dyn JobStore) {
    let append = |statements| {
        let record = Record { at: Timestamp::from_millis(5), fact: Fact::Prepared { statements } };
        Write::Append { job: id(2), record }
    };
    store.write((0..5).map(append).collect()).await.unwrap();
    store.write(vec![append(5)]).await.unwrap();
    let page = store.journal(id(2), 2, 3).await.unwrap();
    assert_eq!(page.iter().map(|record| record.position).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(page[0].record.fact, Fact::Prepared { statements: 1 });
    assert_eq!(store.journal(id(2), 0, 100).await.unwrap().len(), 7);
    assert_eq!(store.journal(id(99), 0, 100).await.unwrap(), Vec::new());
}

async fn a_restart_fails_what_was_unfinished(store: &dyn JobStore) {
    assert_eq!(store.unfinished().await.unwrap().len(), 6);
    let failed = store.fail_unfinished(Timestamp::from_millis(2_000)).await.unwrap();
    assert_eq!(failed.len(), 6);
    assert_eq!(store.unfinished().await.unwrap(), Vec::new());
    let stored = store.job(id(1)).await.unwrap().unwrap();
    assert_eq!(stored, failed[0]);
    assert_eq!(
        stored.status.failure.as_ref().unwrap().failure.message,
        "the coordinator restarted while the job was active"
    );
    let last = store.journal(id(1), 0, 100).await.unwrap().pop().unwrap();
    assert!(matches!(last.record.fact, Fact::Finished { state: JobState::Failed, .. }));
}

async fn tables_come_and_go(store: &dyn JobStore) {
    let definition = |version: u32| serde_json::json!({ "version": version });
    store.put_table("public.b", definition(1)).await.unwrap();
    store.put_table("public.a", definition(1)).await.unwrap();
    store.put_table("public.b", definition(2)).await.unwrap();
    assert_eq!(store.table("public.b").await.unwrap(), Some(definition(2)));
    let all = store.tables().await.unwrap();
    assert_eq!(all, [("public.a".to_owned(), definition(1)), ("public.b".to_owned(), definition(2))]);
    assert!(store.drop_table("public.a").await.unwrap());
    assert!(!store.drop_table("public.a").await.unwrap());
    assert_eq!(store.table("public.a").await.unwrap(), None);
}

async fn old_jobs_are_pruned(store: &dyn JobStore) {
    assert_eq!(store.prune(Timestamp::from_millis(1_500)).await.unwrap(), 1);
    assert_eq!(store.job(id(7)).await.unwrap(), None);
    assert_eq!(store.journal(id(7), 0, 10).await.unwrap(), Vec::new());
    assert!(store.job(id(6)).await.unwrap().is_some());
}
