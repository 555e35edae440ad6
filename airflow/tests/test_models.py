"""What users read about a job."""

from penstock_airflow.models import JobRequest, JobStatus, Source

FAILED = {
    "job_id": "01j",
    "try": 2,
    "state": "FAILED",
    "version": 9,
    "history_url": "http://h/jobs/01j",
    "failure": {
        "class": "USER_DATA",
        "message": "division by zero",
        "advice": "guard the divisor with NULLIF",
        "stage": 3,
        "task": 17,
        "attempt": 4,
        "executor": "e2",
    },
    "something_new": {"that": "is ignored"},
}


def test_a_failure_is_one_line_that_says_where_whose_fault_and_what_to_do() -> None:
    assert JobStatus.model_validate(FAILED).explain_failure() == (
        "job 01j FAILED in stage 3 (task 17, attempt 4, executor e2) [USER_DATA] division by zero; "
        "guard the divisor with NULLIF; http://h/jobs/01j"
    )


def test_a_failure_without_details_still_names_the_job() -> None:
    assert JobStatus(job_id="01j", state="LOST").explain_failure() == "job 01j LOST"


def test_absent_fields_are_not_sent_and_the_source_uses_the_wire_names() -> None:
    request = JobRequest(sql="select 1", source=Source(dag_id="d", run_id="r", task_id="t", try_number=3))
    body = request.body()
    assert body["source"] == {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try": 3}
    assert "idempotency_key" not in body
