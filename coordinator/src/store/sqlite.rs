//! The store in one SQLite file.
//!
//! One connection writes, a few read (write-ahead log). What a client was told, and what becomes visible outside, is
//! synced to the disk; the rest survives the process but may be lost with the machine, which costs work and no promise.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use penstock_common::clock::Timestamp;
use penstock_protocol::{event::JobState, ids::JobId};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use tokio::sync::watch;

use super::{JobFilter, JobRecord, JobStore, Positioned, StoreError, Write, migrations};
use crate::{
    event::StoredKey,
    journal::{self, Fact, Record},
};

const READERS_MAX: u32 = 4;

/// How often a write that found the disk full is tried again.
const FULL_RETRY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct SqliteStore {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    /// Why a write waits for room.
    full: watch::Sender<Option<Arc<str>>>,
}

impl SqliteStore {
    /// Opens the file, creates it if it is not there, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone());
        let writer = writer.await.map_err(database("opening the job store"))?;
        let migrated = migrations::migrator().run(&writer).await;
        migrated.map_err(database("bringing the job store's tables up to date"))?;
        let readers = SqlitePoolOptions::new().max_connections(READERS_MAX).connect_lazy_with(options);
        Ok(Self { path: path.to_path_buf(), writer, readers, full: watch::Sender::new(None) })
    }

    /// Finishes what is being written and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn newest_by(&self, sql: &'static str, key: &str) -> Result<Option<StoredKey>, StoreError> {
        let row = sqlx::query(sql).bind(key).fetch_optional(&self.readers).await;
        let row = row.map_err(database("looking up a job by its key"))?;
        row.map(|row| stored_key(&row)).transpose()
    }

    async fn try_write(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(database("waiting for the job store"))?;
        let level = if writes.iter().any(must_sync) {
            "PRAGMA synchronous = FULL"
        } else {
            "PRAGMA synchronous = NORMAL"
        };
        let level = sqlx::query(level).execute(&mut *connection).await;
        level.map_err(database("setting the job store's durability"))?;
        let begun = sqlx::Connection::begin(&mut *connection).await;
        let mut transaction = begun.map_err(database("starting a write to the job store"))?;
        for write in writes {
            apply(&mut transaction, write).await?;
        }
        transaction.commit().await.map_err(database("committing a write to the job store"))
    }

    /// A lack of room is told apart from everything else.
    fn with_room_told_apart(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Database { source, .. } if is_full(source.as_ref()) => {
                StoreError::Full { path: self.path.clone(), source }
            }
            other => other,
        }
    }

    fn wait_for_room(&self, error: &StoreError) {
        let reason: Arc<str> = error.to_string().into();
        if self.full.send_replace(Some(reason)).is_none() {
            tracing::error!(%error, "the coordinator stands still until there is room for its job store");
        }
    }

    fn found_room(&self) {
        if self.full.send_replace(None).is_some() {
            tracing::info!("there is room for the job store again");
        }
    }
}

/// `SQLITE_FULL`, and what SQLite says when its files beside the database cannot grow.
fn is_full(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    const FULL: [&str; 2] = ["13", "4874"];
    let database = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    database.and_then(|error| error.code()).is_some_and(|code| FULL.contains(&code.as_ref()))
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        loop {
            match self.try_write(&writes).await.map_err(|error| self.with_room_told_apart(error)) {
                Err(full @ StoreError::Full { .. }) => self.wait_for_room(&full),
                written => {
                    self.found_room();
                    return written;
                }
            }
            tokio::time::sleep(FULL_RETRY).await;
        }
    }

    fn full(&self) -> Option<Arc<str>> {
        self.full.borrow().clone()
    }

    async fn until_full(&self) -> Arc<str> {
        let mut full = self.full.subscribe();
        match full.wait_for(Option::is_some).await.map(|full| full.clone()) {
            Ok(Some(reason)) => reason,
            // The store holds the sender.
            _ => std::future::pending().await,
        }
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>, StoreError> {
        let row = sqlx::query("SELECT status FROM jobs WHERE id = ?1").bind(job.to_string());
        let row = row.fetch_optional(&self.readers).await.map_err(database("reading a job"))?;
        row.map(|row| record(&row)).transpose()
    }

    async fn job_by_key(&self, idempotency_key: &str) -> Result<Option<StoredKey>, StoreError> {
        let sql = "SELECT id, try, state, definition_hash FROM jobs WHERE idempotency_key = ?1 ORDER BY id DESC LIMIT 1";
        self.newest_by(sql, idempotency_key).await
    }

    async fn job_by_scope(&self, scope_key: &str) -> Result<Option<StoredKey>, StoreError> {
        let sql =
            "SELECT id, try, state, definition_hash FROM jobs WHERE scope_key = ?1 ORDER BY id DESC LIMIT 1";
        self.newest_by(sql, scope_key).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        let states = (!filter.states.is_empty()).then(|| json(&filter.states));
        let rows = sqlx::query(
            "SELECT status FROM jobs
             WHERE (?1 IS NULL OR id < ?1)
               AND (?2 IS NULL OR state IN (SELECT value FROM json_each(?2)))
               AND (?3 IS NULL OR instr(name, ?3) > 0)
             ORDER BY id DESC LIMIT ?4",
        )
        .bind(filter.before.map(|before| before.to_string()))
        .bind(states)
        .bind(filter.name.as_ref().map(|name| name.to_lowercase()))
        .bind(filter.limit());
        let rows = rows.fetch_all(&self.readers).await.map_err(database("listing jobs"))?;
        rows.iter().map(record).collect()
    }

    async fn unfinished(&self) -> Result<Vec<JobRecord>, StoreError> {
        let rows = sqlx::query("SELECT status FROM jobs WHERE finished_at IS NULL ORDER BY id");
        let rows = rows.fetch_all(&self.readers).await.map_err(database("listing unfinished jobs"))?;
        rows.iter().map(record).collect()
    }

    async fn journal(&self, job: JobId, position: u64, limit: u32) -> Result<Vec<Positioned>, StoreError> {
        let rows = sqlx::query(
            "SELECT position, version, record FROM journal WHERE job = ?1 AND position >= ?2 ORDER BY position LIMIT ?3",
        )
        .bind(job.to_string())
        .bind(i64::try_from(position).unwrap_or(i64::MAX))
        .bind(limit);
        let rows = rows.fetch_all(&self.readers).await.map_err(database("reading a journal"))?;
        rows.iter().map(|row| positioned(job, row)).collect()
    }

    async fn prune(&self, ended_before: Timestamp) -> Result<u64, StoreError> {
        let delete = sqlx::query("DELETE FROM jobs WHERE finished_at < ?1").bind(ended_before.as_millis());
        let done = delete.execute(&self.writer).await.map_err(database("deleting old jobs"))?;
        Ok(done.rows_affected())
    }

    async fn tables(&self) -> Result<Vec<(String, serde_json::Value)>, StoreError> {
        let rows = sqlx::query("SELECT name, definition FROM catalog_tables ORDER BY name");
        let rows = rows.fetch_all(&self.readers).await.map_err(database("listing tables"))?;
        rows.iter().map(|row| Ok((column(row, "name")?, parsed(row, "definition")?))).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError> {
        let row = sqlx::query("SELECT definition FROM catalog_tables WHERE name = ?1").bind(name);
        let row =
            row.fetch_optional(&self.readers).await.map_err(database("reading a table's definition"))?;
        row.map(|row| parsed(&row, "definition")).transpose()
    }

    async fn put_table(&self, name: &str, definition: serde_json::Value) -> Result<(), StoreError> {
        let put = sqlx::query(
            "INSERT INTO catalog_tables (name, definition) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET definition = excluded.definition",
        );
        let put = put.bind(name).bind(definition.to_string()).execute(&self.writer).await;
        let put = put.map(|_| ()).map_err(database("writing a table's definition"));
        put.map_err(|error| self.with_room_told_apart(error))
    }

    async fn drop_table(&self, name: &str) -> Result<bool, StoreError> {
        let dropped = sqlx::query("DELETE FROM catalog_tables WHERE name = ?1").bind(name);
        let dropped = dropped.execute(&self.writer).await.map_err(database("dropping a table"))?;
        Ok(dropped.rows_affected() > 0)
    }
}

/// Whether somebody outside will rely on it even if the machine goes down now.
fn must_sync(write: &Write) -> bool {
    match write {
        Write::InsertJob(_) => true,
        Write::UpdateJob(record) => record.status.state.is_terminal(),
        Write::Append { record, .. } => {
            matches!(record.fact, Fact::Publishing { .. } | Fact::Published { .. })
        }
    }
}

async fn apply(connection: &mut SqliteConnection, write: &Write) -> Result<(), StoreError> {
    let job = write.job();
    match write {
        Write::InsertJob(record) => {
            let insert = sqlx::query(
                "INSERT INTO jobs
                     (id, state, name, idempotency_key, scope_key, try, definition_hash, finished_at, status)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            );
            let status = &record.status;
            let insert = insert
                .bind(job.to_string())
                .bind(state_name(status.state))
                .bind(status.spec.name.to_lowercase())
                .bind(&status.spec.idempotency_key)
                .bind(&status.spec.scope_key)
                .bind(status.try_number)
                .bind(&status.definition_hash)
                .bind(finished_at(record))
                .bind(json(&**status));
            insert.execute(connection).await.map(|_| ()).map_err(|error| match &error {
                sqlx::Error::Database(inner) if inner.is_unique_violation() => StoreError::Exists { job },
                _ => database("inserting a job")(error),
            })
        }
        Write::UpdateJob(record) => {
            let update =
                sqlx::query("UPDATE jobs SET state = ?2, finished_at = ?3, status = ?4 WHERE id = ?1");
            let update = update
                .bind(job.to_string())
                .bind(state_name(record.status.state))
                .bind(finished_at(record))
                .bind(json(&*record.status));
            let done = update.execute(connection).await.map_err(database("updating a job"))?;
            if done.rows_affected() == 0 { Err(StoreError::Unknown { job }) } else { Ok(()) }
        }
        Write::Append { record, .. } => {
            let append = sqlx::query(
                "INSERT INTO journal (job, position, version, record)
                 SELECT ?1, COALESCE(MAX(position) + 1, 0), ?2, ?3 FROM journal WHERE job = ?1",
            );
            let append = append.bind(job.to_string()).bind(journal::VERSION).bind(json(record));
            append.execute(connection).await.map(|_| ()).map_err(|error| match &error {
                sqlx::Error::Database(inner) if inner.is_foreign_key_violation() => {
                    StoreError::Unknown { job }
                }
                _ => database("appending to a journal")(error),
            })
        }
    }
}

/// A job that is over has an end, even if nobody wrote down when.
fn finished_at(record: &JobRecord) -> Option<i64> {
    let status = &record.status;
    status.state.is_terminal().then(|| status.finished_at.unwrap_or(status.submitted_at).as_millis())
}

fn state_name(state: JobState) -> String {
    json(&state).trim_matches('"').to_owned()
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("statuses and records are JSON")
}

fn record(row: &SqliteRow) -> Result<JobRecord, StoreError> {
    Ok(JobRecord { status: Arc::new(parsed(row, "status")?) })
}

fn stored_key(row: &SqliteRow) -> Result<StoredKey, StoreError> {
    let id: String = column(row, "id")?;
    Ok(StoredKey {
        job: id.parse().map_err(|source| StoreError::Database {
            doing: "reading a job's id",
            source: Box::new(source),
        })?,
        try_number: column(row, "try")?,
        state: parse(&format!("\"{}\"", column::<String>(row, "state")?), "a job's state")?,
        definition_hash: column(row, "definition_hash")?,
    })
}

fn positioned(job: JobId, row: &SqliteRow) -> Result<Positioned, StoreError> {
    let version: u32 = column(row, "version")?;
    if version > journal::VERSION {
        return Err(StoreError::Version { job, version, known: journal::VERSION });
    }
    let position: i64 = column(row, "position")?;
    let record: Record = parsed(row, "record")?;
    Ok(Positioned { position: position.unsigned_abs(), record })
}

fn column<'r, T>(row: &'r SqliteRow, name: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(database("reading a row of the job store"))
}

fn parsed<T: DeserializeOwned>(row: &SqliteRow, name: &'static str) -> Result<T, StoreError> {
    parse(column(row, name)?, name)
}

fn parse<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Unreadable { what: what.to_owned(), source })
}

fn database<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    doing: &'static str,
) -> impl Fn(E) -> StoreError {
    move |source| StoreError::Database { doing, source: source.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::suite;
    use super::*;

    #[tokio::test]
    async fn the_sqlite_store_keeps_the_contract_of_stores() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap();
        suite::run(&store).await;
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.sqlite");
        let store = SqliteStore::open(&path).await.unwrap();
        let record = suite::job(1);
        let submitted = suite::submitted(&record);
        store.write(vec![Write::InsertJob(Box::new(record.clone())), submitted.clone()]).await.unwrap();
        store.close().await;

        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(store.unfinished().await.unwrap(), vec![record.clone()]);
        let journal = store.journal(record.job(), 0, 10).await.unwrap();
        assert_eq!(journal.len(), 1);
        let failed = store.fail_unfinished(Timestamp::from_millis(9)).await.unwrap();
        assert_eq!(failed[0].status.state, JobState::Failed);
        assert_eq!(store.unfinished().await.unwrap(), Vec::new());
    }

    #[tokio::test]
    async fn a_write_waits_while_there_is_no_room_and_the_store_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.sqlite");
        let store = SqliteStore::open(&path).await.unwrap();
        sqlx::query("PRAGMA max_page_count = 1").execute(&store.writer).await.unwrap();
        let record = suite::job(1);
        let mut status = (*record.status).clone();
        status.waiting = Some("x".repeat(1 << 20));
        let large = JobRecord { status: Arc::new(status) };
        let write = store.write(vec![Write::InsertJob(Box::new(large.clone()))]);
        let room = async {
            let reason = store.until_full().await;
            assert!(reason.contains("no room") && reason.contains("jobs.sqlite"), "{reason}");
            assert_eq!(store.full(), Some(reason));
            assert_eq!(store.job(record.job()).await.unwrap(), None);
            sqlx::query("PRAGMA max_page_count = 1000000").execute(&store.writer).await.unwrap();
        };
        let (written, ()) = tokio::join!(write, room);
        written.unwrap();
        assert_eq!(store.full(), None);
        assert_eq!(store.job(record.job()).await.unwrap(), Some(large));
    }

    #[tokio::test]
    async fn a_journal_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("jobs.sqlite")).await.unwrap();
        let record = suite::job(1);
        let writes = vec![Write::InsertJob(Box::new(record.clone())), suite::submitted(&record)];
        store.write(writes).await.unwrap();
        sqlx::query("UPDATE journal SET version = 99").execute(&store.writer).await.unwrap();
        let error = store.journal(record.job(), 0, 10).await.unwrap_err();
        assert!(matches!(error, StoreError::Version { version: 99, .. }), "{error}");
    }
}
