"""The hook against a real coordinator, and against none."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from airflow.providers.common.compat.sdk import Connection

from penstock_airflow.errors import PenstockJobNotFound, PenstockRefused, PenstockUnavailable
from penstock_airflow.hooks import penstock as module
from penstock_airflow.hooks.penstock import PenstockHook
from penstock_airflow.models import JobRequest
from processes import Cluster, free_port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def hook_to(port: int) -> PenstockHook:
    hook = PenstockHook("penstock_default")
    hook._read(Connection(conn_id="penstock_default", conn_type="penstock", host="127.0.0.1", port=port))
    return hook


@pytest.fixture
def hook(cluster: Cluster) -> PenstockHook:
    return hook_to(cluster.rest_port)


def ended(hook: PenstockHook, job_id: str) -> str:
    job = hook.get(job_id)
    while not job.is_terminal:
        job = hook.get(job_id, wait_seconds=10, since=job.version)
    return job.state


def test_the_same_key_finds_the_job_that_runs_or_succeeded(hook: PenstockHook) -> None:
    request = JobRequest(sql="select 1 as one", idempotency_key="test/again")
    first = hook.submit(request)
    second = hook.submit(request)
    assert (second.job_id, second.reattached) == (first.job_id, True)
    assert ended(hook, first.job_id) == "SUCCEEDED"
    assert hook.submit(request).job_id == first.job_id


def test_a_failed_job_is_tried_anew_under_its_key(hook: PenstockHook) -> None:
    request = JobRequest(sql="select 1 / 0 as x from (values (1)) t(a) where a / 0 > 1", idempotency_key="test/fails")
    first = hook.submit(request)
    assert ended(hook, first.job_id) == "FAILED"
    second = hook.submit(request)
    assert second.job_id != first.job_id
    assert (second.try_number, second.reattached) == (2, False)


def test_an_unknown_job_is_not_found_and_never_a_success(hook: PenstockHook) -> None:
    with pytest.raises(PenstockJobNotFound):
        hook.get("0193e4a0-0000-7000-8000-000000000000")


def test_wrong_sql_is_refused_with_its_position_before_it_runs(hook: PenstockHook) -> None:
    with pytest.raises(PenstockRefused, match="no_such_table"):
        hook.validate(JobRequest(sql="select *\nfrom no_such_table"))


def test_a_cancelled_job_ends_cancelled(hook: PenstockHook) -> None:
    endless = "select count(*) from generate_series(1, 1000000000) a cross join generate_series(1, 1000) b"
    job = hook.submit(JobRequest(sql=endless, idempotency_key="test/cancel"))
    hook.cancel(job.job_id, reason="the test says so")
    assert ended(hook, job.job_id) == "CANCELLED"


def test_the_connection_test_says_who_answers_and_who_does_not(hook: PenstockHook) -> None:
    assert hook.test_connection()[0]
    with patch.object(module, "_PAUSES_SECONDS", ()):
        answers, message = hook_to(free_port()).test_connection()
    assert not answers
    assert "does not answer" in message


def test_a_coordinator_that_is_away_is_unavailable_and_not_a_refusal() -> None:
    with patch.object(module, "_PAUSES_SECONDS", (0.0, 0.0)), pytest.raises(PenstockUnavailable):
        hook_to(free_port()).info()
