"""Which attempts of a task share a job."""

from types import SimpleNamespace

import pytest

from penstock_airflow.keys import job_key


def instance_of(*, max_tries: int, map_index: int | None = -1) -> SimpleNamespace:
    return SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=map_index, max_tries=max_tries)


def test_automatic_retries_share_one_job() -> None:
    assert str(job_key("prod", instance_of(max_tries=2), retries=2)) == "airflow/prod/d/r/t/-1/g0"


def test_clearing_a_task_starts_a_new_job_in_the_same_scope() -> None:
    before = job_key("prod", instance_of(max_tries=2), retries=2)
    after = job_key("prod", instance_of(max_tries=5), retries=2)
    assert before.scope == after.scope
    assert str(after) == "airflow/prod/d/r/t/-1/g3"


@pytest.mark.parametrize(("map_index", "part"), [(None, "-1"), (0, "0"), (7, "7")])
def test_mapped_tasks_have_their_own_jobs(map_index: int | None, part: str) -> None:
    assert str(job_key("a", instance_of(max_tries=0, map_index=map_index), retries=0)) == f"airflow/a/d/r/t/{part}/g0"
