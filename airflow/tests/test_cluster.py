"""A real DAG in a real Airflow against a real cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from processes import Airflow, Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Airflow]:
    with Airflow(tmp_path_factory.mktemp("airflow") / "home", cluster) as running:
        yield running


@pytest.fixture(scope="module")
def report(airflow: Airflow) -> dict[str, Any]:
    run = airflow.run_dag("penstock_report", 180)
    logs = {task: airflow.logs(run, task) for task in ("load", "count")}
    assert run["state"] == "success", logs
    return run


def parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def test_a_dag_runs_its_jobs_end_to_end(airflow: Airflow, cluster: Cluster, report: dict[str, Any]) -> None:
    loaded = parsed(airflow.xcom(report, "load", "return_value"))
    counted = parsed(airflow.xcom(report, "count", "return_value"))
    assert loaded["commits"][0]["rows"] == 3
    assert counted["rows"] == 1, "ids 2 and 3 are both of kind b"
    states = {job["name"]: job["state"] for job in cluster.jobs()}
    assert states == {"penstock_report.load": "SUCCEEDED", "penstock_report.count": "SUCCEEDED"}
    assert list((Path(airflow.home) / "data" / "report").rglob("*.parquet"))


def test_the_log_names_the_job_and_the_button_opens_its_page(airflow: Airflow, report: dict[str, Any]) -> None:
    job_id = parsed(airflow.xcom(report, "load", "return_value"))["job_id"]
    assert f"SUBMITTED job {job_id}" in airflow.logs(report, "load")
    assert job_id in airflow.xcom(report, "load", "_link_PenstockJobLink")


def test_the_next_run_of_the_dag_submits_jobs_of_its_own(airflow: Airflow, cluster: Cluster) -> None:
    before = {job["job_id"] for job in cluster.jobs()}
    run = airflow.run_dag("penstock_report", 180)
    assert run["state"] == "success"
    assert len({job["job_id"] for job in cluster.jobs()} - before) == 2
