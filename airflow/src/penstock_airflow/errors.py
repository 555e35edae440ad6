"""What can go wrong between Airflow and the coordinator. Each class answers one question: what now?"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowException


class PenstockError(AirflowException):
    """Base of everything that this provider raises."""


class PenstockUnavailable(PenstockError):
    """The coordinator cannot be reached or cannot answer now; the same call may go through later."""


class PenstockRefused(PenstockError):
    """The coordinator answered no: the request has to change."""

    def __init__(self, status: int, code: str, message: str, advice: str | None = None) -> None:
        self.status = status
        self.code = code
        self.advice = advice
        super().__init__(f"{message}; {advice}" if advice else message)


class PenstockJobNotFound(PenstockRefused):
    """The coordinator does not know the job: submit again, it never means success."""
