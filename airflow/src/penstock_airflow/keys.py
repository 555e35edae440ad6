"""Names a task's job so that every retry of the task finds it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class JobKey:
    """The idempotency key of one generation of a task, and the scope that all its generations share."""

    scope: str
    generation: int

    def __str__(self) -> str:
        return f"{self.scope}/g{self.generation}"


def job_key(instance: str, ti: Any, retries: int) -> JobKey:
    """The key of a task instance: constant over its automatic retries, new when a person clears it.

    Clearing a finished task raises `max_tries` to the tries so far plus `retries`; automatic retries leave it alone.
    """
    map_index = -1 if ti.map_index is None else ti.map_index
    scope = f"airflow/{instance}/{ti.dag_id}/{ti.run_id}/{ti.task_id}/{map_index}"
    max_tries = retries if ti.max_tries is None else ti.max_tries
    return JobKey(scope=scope, generation=max_tries - retries)
