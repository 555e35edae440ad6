"""How long a wait lasts."""

import pytest

from penstock_airflow.errors import PenstockUnavailable
from penstock_airflow.waiting import Deadline, Outage

AWAY = PenstockUnavailable("the coordinator does not answer")


def test_an_outage_shorter_than_the_limit_is_borne() -> None:
    outage = Outage(limit_seconds=60)
    outage.failed(0, "j", AWAY)
    outage.failed(59, "j", AWAY)
    outage.answered()
    outage.failed(100, "j", AWAY)
    outage.failed(159, "j", AWAY)


def test_an_outage_as_long_as_the_limit_ends_the_wait_and_says_where_the_job_is() -> None:
    outage = Outage(limit_seconds=60)
    outage.failed(0, "job-1", AWAY)
    with pytest.raises(PenstockUnavailable, match=r"job-1 may still be running.*a retry of this task finds it again"):
        outage.failed(60, "job-1", AWAY)


def test_a_wait_never_goes_beyond_the_deadline() -> None:
    assert Deadline(100).clip(95, 20) == 5
    assert Deadline(100).clip(105, 20) == 0
    assert Deadline().clip(0, 20) == 20
    assert Deadline(100).passed(100)
    assert not Deadline().passed(1e12)
