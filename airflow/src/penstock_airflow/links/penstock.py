"""Buttons on a task that open the job's pages, also while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from penstock_airflow.models import JobStatus, Submitted


class _JobPageLink(BaseOperatorLink):
    """A link whose address the operator stored in XCom as soon as it knew it."""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        value = XCom.get_value(key=self.xcom_key, ti_key=ti_key)
        return value if isinstance(value, str) else ""


class PenstockJobLink(_JobPageLink):
    """The live job at the coordinator."""

    name = "Penstock job"


class PenstockHistoryLink(_JobPageLink):
    """The job's page in the history server."""

    name = "Penstock history"


def push_links(ti: Any, job: Submitted | JobStatus) -> None:
    """Stores the addresses of a job's pages, so that the buttons work at once."""
    if job.url:
        ti.xcom_push(key=PenstockJobLink().xcom_key, value=job.url)
    if job.history_url:
        ti.xcom_push(key=PenstockHistoryLink().xcom_key, value=job.history_url)
