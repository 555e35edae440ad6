"""Waits for a job that something else submitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseSensorOperator

from penstock_airflow.hooks.penstock import PenstockHook
from penstock_airflow.links.penstock import PenstockHistoryLink, PenstockJobLink, push_links


class PenstockJobSensor(BaseSensorOperator):
    """True once the job has succeeded; fails for good when it ended in any other way.

    :param job_id: the job to wait for. Templated, so that it can come from another task's XCom.
    :param conn_id: connection of type `penstock`.
    """

    template_fields: Sequence[str] = ("job_id",)
    operator_extra_links = (PenstockJobLink(), PenstockHistoryLink())

    def __init__(self, *, job_id: str, conn_id: str = PenstockHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.conn_id = conn_id

    def poke(self, context: Any) -> bool:
        """One look at the job."""
        job = PenstockHook(self.conn_id).get(self.job_id)
        push_links(context["ti"], job)
        if job.is_terminal and job.state != "SUCCEEDED":
            raise AirflowFailException(job.explain_failure())
        return job.is_terminal
