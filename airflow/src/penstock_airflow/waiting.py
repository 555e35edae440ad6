"""Decides what a wait for a job does next. Pure: operator and trigger ask, sleep and call."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_airflow.errors import PenstockUnavailable


@dataclass
class Outage:
    """How long the coordinator has not answered. An outage is not a failed job: the wait goes on up to a limit."""

    limit_seconds: float
    since: float | None = None

    def answered(self) -> None:
        """The coordinator is there."""
        self.since = None

    def failed(self, now: float, job_id: str, error: PenstockUnavailable) -> None:
        """Notes one more failed call; raises when it has lasted too long. The job is not cancelled."""
        self.since = now if self.since is None else self.since
        if now - self.since >= self.limit_seconds:
            raise PenstockUnavailable(
                f"{error}; gave up after {self.limit_seconds:g} s, job {job_id} may still be running there: a retry "
                "of this task finds it again"
            )


@dataclass(frozen=True)
class Deadline:
    """An absolute end on the wall clock, as seconds since the epoch; none means forever."""

    at: float | None = None

    def passed(self, now: float) -> bool:
        """Whether it is over."""
        return self.at is not None and now >= self.at

    def clip(self, now: float, seconds: float) -> float:
        """At most `seconds`, and not beyond the end."""
        return seconds if self.at is None else max(0.0, min(seconds, self.at - now))
