"""Waits for a job while its task is deferred, without a worker slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from penstock_airflow.errors import PenstockJobNotFound, PenstockRefused, PenstockUnavailable
from penstock_airflow.hooks.penstock import PenstockHook
from penstock_airflow.models import JobStatus
from penstock_airflow.waiting import Deadline, Outage

#: How long one request may wait at the coordinator for news.
_LONG_POLL_SECONDS = 20.0
_ON_KILL_TIMEOUT_SECONDS = 10.0


class PenstockJobTrigger(BaseTrigger):
    """Fires once, when the job has ended, the deadline has passed or the coordinator stayed away too long.

    The event says only why it fired; the operator asks for the job's state itself. All times are absolute, so that a
    restarted triggerer goes on where the last one stopped.

    :param fire_not_before: seconds since the epoch; an event that comes within seconds of deferring can be lost by
        Airflow 3.3, so an early one is withheld until then.
    :param deadline: seconds since the epoch, or none. Owned by the trigger because a deferral timeout of Airflow's own
        skips every clean-up hook.
    """

    def __init__(
        self,
        conn_id: str,
        job_id: str,
        poll_interval: float = 5.0,
        fire_not_before: float = 0.0,
        deadline: float | None = None,
        max_outage_seconds: float = 600.0,
        stream_logs: bool = True,
        log_position: int = 0,
        on_kill_action: str = "cancel",
        cancel_grace_seconds: int = 60,
    ) -> None:
        super().__init__()
        self.conn_id = conn_id
        self.job_id = job_id
        self.poll_interval = poll_interval
        self.fire_not_before = fire_not_before
        self.deadline = deadline
        self.max_outage_seconds = max_outage_seconds
        self.stream_logs = stream_logs
        self.log_position = log_position
        self.on_kill_action = on_kill_action
        self.cancel_grace_seconds = cancel_grace_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """All that a new triggerer needs to go on."""
        return (
            "penstock_airflow.triggers.penstock.PenstockJobTrigger",
            {
                "conn_id": self.conn_id,
                "job_id": self.job_id,
                "poll_interval": self.poll_interval,
                "fire_not_before": self.fire_not_before,
                "deadline": self.deadline,
                "max_outage_seconds": self.max_outage_seconds,
                "stream_logs": self.stream_logs,
                "log_position": self.log_position,
                "on_kill_action": self.on_kill_action,
                "cancel_grace_seconds": self.cancel_grace_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Waits, then fires once."""
        hook = PenstockHook(self.conn_id)
        try:
            reason = await self._wait(hook)
            message = None
        except (PenstockUnavailable, PenstockRefused) as error:
            reason = "lost" if isinstance(error, PenstockJobNotFound) else "error"
            message = str(error)
        await asyncio.sleep(max(0.0, self.fire_not_before - time.time()))
        yield TriggerEvent(
            {"job_id": self.job_id, "reason": reason, "message": message, "log_position": self.log_position}
        )

    async def _wait(self, hook: PenstockHook) -> str:
        outage = Outage(self.max_outage_seconds)
        deadline = Deadline(self.deadline)
        version: int | None = None
        while not deadline.passed(time.time()):
            try:
                job = await hook.aget(
                    self.job_id, deadline.clip(time.time(), _LONG_POLL_SECONDS) if version is not None else 0, version
                )
                await self._show_logs(hook, job)
                outage.answered()
            except PenstockUnavailable as error:
                outage.failed(time.time(), self.job_id, error)
                await asyncio.sleep(self.poll_interval)
                continue
            if job.is_terminal:
                return "ended"
            if version == job.version:
                await asyncio.sleep(0)
            else:
                # Progress comes in bursts: one look per interval is enough.
                await asyncio.sleep(deadline.clip(time.time(), self.poll_interval))
            version = job.version
        return "deadline"

    async def _show_logs(self, hook: PenstockHook, job: JobStatus) -> None:
        if not self.stream_logs:
            return
        page = await hook.alogs(job.job_id, self.log_position)
        for line in page.lines:
            self.log.info("%s %s %s", line.at, line.level, line.message)
        self.log_position = page.next

    async def on_kill(self) -> None:
        """A person ended the deferred task: end its job too, unless told to leave it. Airflow >= 3.3."""
        if self.on_kill_action == "detach":
            return
        grace_seconds = self.cancel_grace_seconds if self.on_kill_action == "cancel_after_grace" else 0
        await PenstockHook(self.conn_id).acancel(
            self.job_id,
            reason="the deferred Airflow task was ended",
            grace_seconds=grace_seconds,
            timeout_seconds=_ON_KILL_TIMEOUT_SECONDS,
        )
