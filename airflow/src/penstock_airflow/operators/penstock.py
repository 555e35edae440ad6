"""Runs one Penstock job as one Airflow task."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator

from penstock_airflow.errors import PenstockJobNotFound, PenstockRefused, PenstockUnavailable
from penstock_airflow.hooks.penstock import PenstockHook
from penstock_airflow.keys import JobKey, job_key
from penstock_airflow.links.penstock import PenstockHistoryLink, PenstockJobLink, push_links
from penstock_airflow.models import USER_CLASSES, JobRequest, JobStatus, Source, Submitted
from penstock_airflow.triggers.penstock import PenstockJobTrigger
from penstock_airflow.waiting import Deadline, Outage

OnKill = Literal["cancel", "detach", "cancel_after_grace"]
_ON_KILL_ACTIONS = ("cancel", "detach", "cancel_after_grace")

#: `on_kill` runs inside a signal handler: Airflow kills the process soon after.
_ON_KILL_TIMEOUT_SECONDS = 2.0
#: How long one request may wait at the coordinator for news.
_LONG_POLL_SECONDS = 10.0


class PenstockOperator(BaseOperator):
    """Submits SQL, waits for it, and returns what it made.

    A retry of the task finds the job that an earlier try started, by an idempotency key, and goes on waiting for it; a
    failed job is tried anew. A person who clears the task starts a new job.

    :param sql: script of one or more statements, or the name of a `.sql` file. Templated.
    :param parameters: values of `$name` in the script, bound as typed values. Templated.
    :param settings: session settings by their dotted names. Templated.
    :param labels: shown in the job list and searchable. Templated.
    :param name: the job's name; default `<dag_id>.<task_id>`. Templated.
    :param queue_name: the coordinator's queue (`queue` is Airflow's own).
    :param conn_id: connection of type `penstock`.
    :param deferrable: wait in the triggerer, without a worker slot.
    :param poll_interval: seconds between two looks at a job that reports progress.
    :param inline_wait: seconds to wait in the worker before deferring.
    :param min_defer_seconds: the trigger withholds its event for this long (see `PenstockJobTrigger`).
    :param on_kill_action: what happens to the job when the task is killed: `cancel` it; `detach` and leave it running;
        `cancel_after_grace` if no retry asks for it within `cancel_grace_seconds` (for workers that are evicted).
    :param lease_seconds: cancel the job when nobody asked for it for so long; 0 is never.
    :param timeout_seconds: the coordinator ends a job that runs longer.
    :param stream_logs: copy the job's log lines into the task's log.
    :param max_outage_seconds: how long the coordinator may be away before the task gives up (the job is not cancelled).
    :param base_url: folder that relative paths in the script start from, such as `file:///data/`. Templated.
    :param validate_only: plan the script, run nothing.
    """

    template_fields: Sequence[str] = ("sql", "parameters", "settings", "labels", "name", "base_url")
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "parameters": "json", "settings": "json"}  # noqa: RUF012
    operator_extra_links = (PenstockJobLink(), PenstockHistoryLink())
    ui_color = "#0b6e6e"
    ui_fgcolor = "#ffffff"

    def __init__(
        self,
        *,
        sql: str,
        parameters: dict[str, Any] | None = None,
        settings: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        name: str | None = None,
        queue_name: str | None = None,
        conn_id: str = PenstockHook.default_conn_name,
        deferrable: bool = False,
        poll_interval: float = 5.0,
        inline_wait: float = 10.0,
        min_defer_seconds: float = 10.0,
        on_kill_action: OnKill = "cancel",
        cancel_grace_seconds: int = 60,
        lease_seconds: int = 0,
        timeout_seconds: int | None = None,
        stream_logs: bool = True,
        max_outage_seconds: float = 600.0,
        base_url: str | None = None,
        validate_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_kill_action not in _ON_KILL_ACTIONS:
            raise ValueError(f"on_kill_action is one of {', '.join(_ON_KILL_ACTIONS)}, not {on_kill_action!r}")
        self.sql = sql
        self.parameters = parameters or {}
        self.settings = settings or {}
        self.labels = labels or {}
        self.name = name
        self.queue_name = queue_name
        self.conn_id = conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.inline_wait = inline_wait
        self.min_defer_seconds = min_defer_seconds
        self.on_kill_action = on_kill_action
        self.cancel_grace_seconds = cancel_grace_seconds
        self.lease_seconds = lease_seconds
        self.timeout_seconds = timeout_seconds
        self.stream_logs = stream_logs
        self.max_outage_seconds = max_outage_seconds
        self.base_url = base_url
        self.validate_only = validate_only
        self._hook: PenstockHook | None = None
        self._key: JobKey | None = None
        self._job_id: str | None = None
        self._log_position = 0

    # -- the task --------------------------------------------------------------------------------------------------

    def execute(self, context: Any) -> dict[str, Any]:
        """Submits, waits, defers if asked to, and returns the job's summary."""
        ti = context["ti"]
        started = time.time()
        hook = self._hook = PenstockHook(self.conn_id).prepare()
        self._key = job_key(hook.instance, ti, self.retries or 0)
        request = self._request(ti)
        if self.validate_only:
            return hook.validate(request)
        submitted = self._submit(hook, request)
        push_links(ti, submitted)

        deadline = self._deadline(started)
        inline_until = Deadline(started + self.inline_wait) if self.deferrable else Deadline()
        job = self._wait(hook, submitted.job_id, inline_until)
        if not job.is_terminal:
            self._defer(submitted.job_id, deadline)
        return self._finish(ti, job)

    def resume(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Called after the trigger fired."""
        hook = self._hook = PenstockHook(self.conn_id).prepare()
        job_id = self._job_id = event["job_id"]
        match event["reason"]:
            case "deadline":
                hook.cancel(job_id, reason="the Airflow task's execution_timeout passed")
                raise AirflowException(f"job {job_id} was cancelled: it did not end within execution_timeout")
            case "lost":
                raise AirflowException(f"{event['message']}: a retry of this task submits the job again")
            case "error":
                raise PenstockUnavailable(event["message"])
        self._log_position = event["log_position"]
        job = self._wait(hook, job_id, Deadline())
        return self._finish(context["ti"], job)

    def on_kill(self) -> None:
        """Ends the job with the task, as `on_kill_action` says. Looks nothing up: it runs in a signal handler."""
        if self._hook is None or self._key is None or self.on_kill_action == "detach":
            return
        grace_seconds = self.cancel_grace_seconds if self.on_kill_action == "cancel_after_grace" else 0
        reason = "the Airflow task was killed"
        try:
            if self._job_id is None:
                self._hook.cancel_by_key(str(self._key), reason, timeout_seconds=_ON_KILL_TIMEOUT_SECONDS)
            else:
                self._hook.cancel(
                    self._job_id, reason, grace_seconds=grace_seconds, timeout_seconds=_ON_KILL_TIMEOUT_SECONDS
                )
        except (PenstockUnavailable, PenstockRefused) as error:
            self.log.warning("could not cancel the job: %s", error)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _request(self, ti: Any) -> JobRequest:
        return JobRequest(
            name=self.name or f"{ti.dag_id}.{ti.task_id}",
            sql=self.sql,
            parameters=self.parameters,
            settings=self.settings,
            labels=self.labels,
            queue=self.queue_name,
            idempotency_key=str(self._key),
            scope_key=self._key.scope if self._key else None,
            lease_seconds=self.lease_seconds or None,
            timeout_seconds=self.timeout_seconds,
            base_url=self.base_url,
            owner=self.owner,
            source=Source(
                dag_id=ti.dag_id,
                run_id=ti.run_id,
                task_id=ti.task_id,
                map_index=-1 if ti.map_index is None else ti.map_index,
                try_number=ti.try_number,
                url=getattr(ti, "log_url", None),
            ),
        )

    def _submit(self, hook: PenstockHook, request: JobRequest) -> Submitted:
        try:
            submitted = hook.submit(request)
        except PenstockRefused as error:
            # The same bytes would be refused again.
            raise AirflowFailException(f"the job was not accepted: {error}") from error
        self._job_id = submitted.job_id
        self.log.info(
            "%s job %s (try %s) %s",
            "REATTACHED to" if submitted.reattached else "SUBMITTED",
            submitted.job_id,
            submitted.try_number,
            submitted.url or "",
        )
        return submitted

    def _deadline(self, started: float) -> Deadline:
        if self.execution_timeout is None:
            return Deadline()
        return Deadline(started + self.execution_timeout.total_seconds())

    def _wait(self, hook: PenstockHook, job_id: str, until: Deadline) -> JobStatus:
        """The job when it has ended, or as it is at `until`."""
        outage = Outage(self.max_outage_seconds)
        job: JobStatus | None = None
        while True:
            try:
                wait_seconds = until.clip(time.time(), _LONG_POLL_SECONDS) if job else 0
                job = hook.get(job_id, wait_seconds, job.version if job else None)
                self._show_logs(hook, job)
                outage.answered()
            except PenstockUnavailable as error:
                outage.failed(time.time(), job_id, error)
                time.sleep(self.poll_interval)
                continue
            except PenstockJobNotFound as error:
                raise AirflowException(f"{error}: a retry of this task submits the job again") from error
            if job.is_terminal or until.passed(time.time()):
                return job

    def _show_logs(self, hook: PenstockHook, job: JobStatus) -> None:
        if not self.stream_logs:
            return
        page = hook.logs(job.job_id, self._log_position)
        for line in page.lines:
            self.log.info("%s %s %s", line.at, line.level, line.message)
        self._log_position = page.next

    def _defer(self, job_id: str, deadline: Deadline) -> None:
        self.defer(
            trigger=PenstockJobTrigger(
                conn_id=self.conn_id,
                job_id=job_id,
                poll_interval=self.poll_interval,
                fire_not_before=time.time() + self.min_defer_seconds,
                deadline=deadline.at,
                max_outage_seconds=self.max_outage_seconds,
                stream_logs=self.stream_logs,
                log_position=self._log_position,
                on_kill_action=self.on_kill_action,
                cancel_grace_seconds=self.cancel_grace_seconds,
            ),
            method_name="resume",
        )

    def _finish(self, ti: Any, job: JobStatus) -> dict[str, Any]:
        push_links(ti, job)
        if job.state == "SUCCEEDED":
            return job.summary()
        message = job.explain_failure()
        user_error = job.failure is not None and job.failure.failure_class in USER_CLASSES
        if user_error or job.state == "CANCELLED":
            # Another try would fail the same way, or fight the person who cancelled.
            raise AirflowFailException(message)
        raise AirflowException(message)
