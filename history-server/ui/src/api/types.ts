// What the server's REST answers with. Field by field as in its OpenAPI document.

export const STATES = ['QUEUED', 'PLANNING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'LOST'] as const
export type JobState = (typeof STATES)[number]

export interface Failure {
  class: string
  message: string
  advice: string | null
  retry_may_help: boolean
}

export interface Progress {
  stages_total: number
  stages_finished: number
  tasks_total: number
  tasks_finished: number
  tasks_running: number
}

export interface Totals {
  rows: number
  scanned_bytes: number
  shuffled_bytes: number
  spilled_bytes: number
  written_bytes: number
  slot_seconds: number
}

export interface JobRow {
  job_id: string
  name: string
  state: JobState
  owner: string | null
  client: string
  labels: Record<string, string>
  try: number
  continues: string | null
  submitted_at: string
  started_at: string | null
  finished_at: string | null
  duration_ms: number
  progress: Progress
  totals: Totals
  failure: Failure | null
  script_line: string
}

export interface JobList {
  jobs: JobRow[]
  total: number
  by_state: Partial<Record<JobState, number>>
  indexed: number
  unreadable: number
  refreshed_at: string | null
  store_error: string | null
  store: string
}

export interface Distribution {
  count: number
  sum: number
  min: number
  p25: number
  median: number
  p75: number
  p95: number
  max: number
}

export interface Operator {
  operator: number
  parent: number | null
  name: string
  detail: string
  estimated_rows: number | null
  rows_out: Distribution
  cpu_ms: Distribution
  spilled_bytes: Distribution
  memory_peak_bytes: Distribution
  counters: Record<string, number>
}

export interface Edge {
  stage: number
  mode: string
  rows: number
  bytes: number
  committed: boolean
}

export interface ExchangePartition {
  partition: number
  rows: number
  bytes: number
  batches: number
  workers: string[]
}

export interface Exchange {
  run: number
  committed_at: string
  partitions: number
  rows: number
  bytes: number
  batches: number
  partition_bytes: Distribution
  partition_rows: Distribution
  workers: { worker: string; partitions: number; rows: number; bytes: number }[]
  largest: ExchangePartition[]
}

export type StageState = 'waiting' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'stopped'

export interface Stage {
  stage: number
  statement: number
  name: string
  state: StageState
  started_at: string | null
  finished_at: string | null
  started_ms: number | null
  finished_ms: number | null
  output: string
  output_partitions: number
  inputs: Edge[]
  tasks: number
  tasks_finished: number
  tasks_running: number
  attempts: number
  attempts_failed: number
  attempts_lost: number
  critical: boolean
  totals: {
    rows_in: number
    rows_out: number
    scanned_bytes: number
    shuffle_read_bytes: number
    shuffle_written_bytes: number
    spilled_bytes: number
    written_bytes: number
    run_ms: number
    cpu_ms: number
    queued_ms: number
    shuffle_read_wait_ms: number
    shuffle_write_wait_ms: number
    lost_work_ms: number
  }
  quantiles: Record<string, Distribution>
  operators: Operator[]
  exchange: Exchange | null
}

export interface Statement {
  statement: number
  sql: string
  kind: string
  logical_plan: string
  physical_plan: string
  planned_at: string
  finished_at: string | null
  stages: number[]
  outputs: { target: string; files: number; rows: number; bytes: number }[]
}

export interface Note {
  kind: string
  text: string
  stage: number | null
}

export interface Job {
  job_id: string
  name: string
  state: JobState
  live: boolean
  owner: string | null
  client: string
  labels: Record<string, string>
  try: number
  continues: string | null
  source: Record<string, unknown> | null
  build: string
  submitted_at: string | null
  started_at: string | null
  finished_at: string | null
  duration_ms: number
  progress: Progress
  totals: Totals
  failure: Failure | null
  failed_attempt: { stage: number; task: number; attempt: number; executor: string } | null
  script: string
  parameters: Record<string, string>
  settings: { key: string; value: string; layer: string }[]
  statements: Statement[]
  stages: Stage[]
  notes: Note[]
  log: {
    whole: boolean
    segments: number
    bytes: number
    records: number
    unknown: number
    unreadable: number
    missing: number
    cuts: string[]
    warnings: number
    samples_dropped: number
  }
}

export interface Timeline {
  origin: string
  end_ms: number
  executors: {
    executor: string
    host: string | null
    slots: number | null
    joined_ms: number | null
    lost_ms: number | null
    lost_reason: string | null
    /** Columns: the i-th entries of all lists are one sample. */
    samples: {
      at_ms: number[]
      cpu_used: number[]
      memory_used_bytes: number[]
      memory_limit_bytes: number[]
      scratch_used_bytes: number[]
    }
  }[]
  /** Columns: the i-th entries of all lists are one attempt. */
  attempts: {
    executor: number[]
    stage: number[]
    task: number[]
    attempt: number[]
    queued_ms: number[]
    start_ms: number[]
    end_ms: number[]
    state: number[]
    winner: boolean[]
  }
}

/** What became of the shuffles of a job. */
export interface JobShuffle {
  recorded: boolean
  exchanges: ExchangeHistory[]
  story: Moment[]
}

export interface Moment {
  at: string
  at_ms: number
  kind: string
  stage: number
  text: string
}

export interface ExchangeHistory {
  stage: number
  name: string
  output: string
  readers: number[]
  run: number
  state: string
  partitions: number
  partitions_empty: number | null
  copies: number | null
  codec: string | null
  rows: number
  bytes: number
  batches: number
  partition_bytes: Distribution
  partition_rows: Distribution
  skew: number | null
  largest: { partition: number; rows: number; bytes: number; epochs: number | null }[]
  placed_at: string | null
  committed_at: string | null
  released_at: string | null
  placed_waited_ms: number | null
  commit_took_ms: number | null
  epochs_added: number
  epoch_reasons: { why: string; partitions: number; text: string }[]
  write: {
    wait_ms: number
    pushes: number
    pushes_resent: number
    batches_revived: number
    partitions_moved: number
  }
  read: { wait_ms: number; failovers: number; streams_reopened: number; batches_skipped: number }
  workers: ShuffleWorker[]
  lost_runs: { run: number; at: string; reason: string }[]
  why: string[]
}

export interface ShuffleWorker {
  worker: string
  address: string | null
  primaries: number
  replicas: number
  added: number
  rows: number
  bytes: number
  stored_bytes: number | null
  committed: number
  empty: number
  failed: number
  suspected: number
  trouble: string | null
}

/** Machines as the newest jobs saw them, and shuffle workers as the log of the cluster knows them. */
export interface Cluster {
  jobs_read: number
  jobs_skipped: number
  jobs_total: number
  jobs_live: number
  since: string | null
  until: string | null
  /** When a shuffle master was last asked; null if no coordinator writes that down. */
  watched: { looked_at: string; silent_since: string | null; silent_because: string | null } | null
  executors: ExecutorSeen[]
  shuffle_workers: WorkerSeen[]
  events: ClusterEvent[]
}

export interface ClusterEvent {
  at: string
  kind: string
  node: string
  text: string
  until: string | null
  job: string | null
}

export interface ExecutorSeen {
  executor: string
  host: string | null
  slots: number | null
  state: string
  running: number
  first_seen: string
  last_seen: string
  lost_reason: string | null
  jobs: number
  attempts: number
  attempts_failed: number
  run_ms: number
  load: {
    at: string
    cpu_used: number
    memory_used_bytes: number
    memory_limit_bytes: number
    scratch_used_bytes: number
  } | null
  last_job: string
}

export interface WorkerSeen {
  worker: string
  address: string | null
  /** As jobs tell. */
  state: string
  /** As a shuffle master tells. */
  standing: Standing | null
  first_seen: string | null
  last_seen: string | null
  jobs: number
  exchanges: number
  locations: number
  stored_bytes: number
  failed: number
  suspected: number
  trouble: { at: string; job: string; text: string } | null
  last_job: string | null
}

export interface Standing {
  state: string
  because: string | null
  until: string | null
  zone: string
  rack: string
  tags: string[]
  heard_at: string
  jobs: number
  locations: number
  open_locations: number
  memory_used_bytes: number
  memory_limit_bytes: number
  paused: boolean
  flush_us_per_mib: number
  fetch_us_per_mib: number
  disks: Disk[]
}

export interface Disk {
  path: string
  class: string
  state: string
  used_bytes: number
  room_bytes: number
  errors: number
}

export interface Attempt {
  task: number
  attempt: number
  state: string
  winner: boolean
  executor: string
  queued_ms: number
  started_at: string
  finished_at: string | null
  duration_ms: number
  failure: Failure | null
  metrics: Record<string, number> | null
}

export interface TaskPage {
  attempts: Attempt[]
  total: number
}

export interface LogEvent {
  seq: number
  at_ms: number
  type: string
  [field: string]: unknown
}

export interface EventPage {
  events: LogEvent[]
  next: number
  end: boolean
}
