"""What the REST API takes and answers. Unknown fields are ignored, so that a newer server is understood."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobState = Literal["QUEUED", "PLANNING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "LOST"]
TERMINAL_STATES: frozenset[str] = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "LOST"})

#: Failures that another try cannot mend: the SQL or the data have to change first.
USER_CLASSES: frozenset[str] = frozenset({"USER_SQL", "USER_DATA"})


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Source(BaseModel):
    """Which Airflow task submits; shown on the job's page."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int = Field(serialization_alias="try")
    url: str | None = None


class JobRequest(BaseModel):
    """One submission. `idempotency_key` makes it safe to send again."""

    name: str | None = None
    sql: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    priority: int | None = None
    queue: str | None = None
    idempotency_key: str | None = None
    scope_key: str | None = None
    lease_seconds: int | None = None
    timeout_seconds: int | None = None
    base_url: str | None = None
    owner: str | None = None
    client: str = "airflow"
    source: Source | None = None

    def body(self) -> dict[str, Any]:
        """The JSON body: absent fields are left to the server's defaults."""
        return self.model_dump(by_alias=True, exclude_none=True)


class Submitted(_Answer):
    """The answer to a submission."""

    job_id: str
    try_number: int = Field(alias="try")
    state: JobState
    url: str | None = None
    history_url: str | None = None
    reattached: bool = False
    definition_hash: str | None = None


class Progress(_Answer):
    """How far a running job is."""

    stages_total: int = 0
    stages_finished: int = 0
    tasks_total: int = 0
    tasks_finished: int = 0


class Totals(_Answer):
    """What a job used and made, over all its statements."""

    rows: int = 0
    scanned_bytes: int = 0
    shuffled_bytes: int = 0
    spilled_bytes: int = 0
    written_bytes: int = 0
    slot_seconds: float = 0.0


class Failure(_Answer):
    """Why a job failed."""

    failure_class: str = Field(alias="class")
    message: str
    advice: str | None = None
    stage: int | None = None
    task: int | None = None
    attempt: int | None = None
    executor: str | None = None


class Outputs(_Answer):
    """What a statement published."""

    target: str
    files: int
    rows: int
    bytes: int


class Statement(_Answer):
    """One statement of a job."""

    index: int
    state: str
    kind: str | None = None
    rows: int | None = None
    outputs: Outputs | None = None


class JobStatus(_Answer):
    """A job as the coordinator sees it now."""

    job_id: str
    name: str | None = None
    try_number: int = Field(alias="try", default=1)
    state: JobState
    version: int = 0
    waiting: str | None = None
    submitted_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    progress: Progress = Field(default_factory=Progress)
    totals: Totals = Field(default_factory=Totals)
    failure: Failure | None = None
    statements: list[Statement] = Field(default_factory=list)
    url: str | None = None
    history_url: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the state can no longer change."""
        return self.state in TERMINAL_STATES

    def explain_failure(self) -> str:
        """One line: what went wrong, where, whose fault, what to do, and the page that shows it."""
        failure = self.failure
        if failure is None:
            return f"job {self.job_id} {self.state}"
        where = ""
        if failure.stage is not None:
            detail = [
                f"{what} {value}"
                for what, value in (
                    ("task", failure.task),
                    ("attempt", failure.attempt),
                    ("executor", failure.executor),
                )
                if value is not None
            ]
            where = f" in stage {failure.stage}" + (f" ({', '.join(detail)})" if detail else "")
        advice = f"; {failure.advice}" if failure.advice else ""
        page = f"; {self.history_url or self.url}" if self.history_url or self.url else ""
        return f"job {self.job_id} {self.state}{where} [{failure.failure_class}] {failure.message}{advice}{page}"

    def summary(self) -> dict[str, Any]:
        """A small JSON for XCom: what ran, what it made, what it cost."""
        return {
            "job_id": self.job_id,
            "try": self.try_number,
            "rows": self.totals.rows,
            "bytes_read": self.totals.scanned_bytes,
            "bytes_shuffled": self.totals.shuffled_bytes,
            "bytes_spilled": self.totals.spilled_bytes,
            "bytes_written": self.totals.written_bytes,
            "slot_seconds": self.totals.slot_seconds,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "commits": [s.outputs.model_dump() for s in self.statements if s.outputs is not None],
            "url": self.url,
            "history_url": self.history_url,
        }


class LogLine(_Answer):
    """One line of a job's log."""

    at: str = ""
    level: str = "info"
    message: str = ""


class LogPage(_Answer):
    """Lines from a position on."""

    lines: list[LogLine] = Field(default_factory=list)
    next: int = 0
    eof: bool = False
