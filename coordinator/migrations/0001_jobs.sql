-- Ids are UUIDv7 as text: their order is that of submission.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL,
    -- For searching: the name in lower case.
    name TEXT NOT NULL,
    idempotency_key TEXT,
    scope_key TEXT,
    try INTEGER NOT NULL,
    definition_hash TEXT NOT NULL,
    -- Null while the job is active.
    finished_at INTEGER,
    -- The whole status, as JSON.
    status TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX jobs_by_key ON jobs (idempotency_key, id) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_by_scope ON jobs (scope_key, id) WHERE scope_key IS NOT NULL;
CREATE INDEX jobs_unfinished ON jobs (id) WHERE finished_at IS NULL;
CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE journal (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (job, position)
) WITHOUT ROWID;

CREATE TABLE catalog_tables (
    name TEXT PRIMARY KEY NOT NULL,
    definition TEXT NOT NULL
) WITHOUT ROWID;
