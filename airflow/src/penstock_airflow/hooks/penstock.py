"""Speaks the coordinator's REST API, in the worker (sync) and in the triggerer (async).

Each call is described once, as a `_Call`; two small loops send it. A coordinator that is away is not a failed job:
connection errors, 429 and 5xx are retried here for a few seconds and then raised as `PenstockUnavailable`, which the
waiting loops bear for as long as they are told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx
from airflow.providers.common.compat.sdk import BaseHook

from penstock_airflow.errors import PenstockJobNotFound, PenstockRefused, PenstockUnavailable
from penstock_airflow.models import JobRequest, JobStatus, LogPage, Submitted

Answer = TypeVar("Answer")

#: Answers that may be different a moment later.
_PASSING_STATUS = frozenset({429, 500, 502, 503, 504})
_CALL_TIMEOUT_SECONDS = 20.0
#: Pauses between the tries of one call; a coordinator restarts within seconds.
_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class _Call(Generic[Answer]):
    method: str
    path: str
    parse: Callable[[Any], Answer]
    body: dict[str, Any] | None = None
    query: dict[str, str] = field(default_factory=dict)
    timeout_seconds: float = _CALL_TIMEOUT_SECONDS
    retry: bool = True

    def pauses(self) -> Iterator[float]:
        return iter(_PAUSES_SECONDS if self.retry else ())

    def read(self, response: httpx.Response) -> Answer:
        """The parsed answer; raises what the status says."""
        if response.status_code in _PASSING_STATUS:
            raise PenstockUnavailable(f"{response.request.url} answered {response.status_code}")
        if response.is_error:
            raise _refusal(response)
        return self.parse(response.json())


def _refusal(response: httpx.Response) -> PenstockRefused:
    try:
        error = response.json().get("error", {})
    except ValueError:
        error = {}
    kind = PenstockJobNotFound if response.status_code == 404 else PenstockRefused
    return kind(
        response.status_code,
        error.get("code", "unknown"),
        error.get("message") or f"{response.request.url} answered {response.status_code}",
        error.get("advice"),
    )


def _submit(request: JobRequest) -> _Call[Submitted]:
    # Without a key, sending again could start a second job.
    return _Call("POST", "/jobs", Submitted.model_validate, body=request.body(), retry=bool(request.idempotency_key))


def _get(job_id: str, wait_seconds: float, since: int | None) -> _Call[JobStatus]:
    query = {}
    if wait_seconds > 0:
        query["wait"] = f"{wait_seconds:g}s"
        if since is not None:
            query["since"] = str(since)
    timeout_seconds = _CALL_TIMEOUT_SECONDS + wait_seconds
    return _Call(
        "GET", f"/jobs/{job_id}", JobStatus.model_validate, query=query, timeout_seconds=timeout_seconds, retry=False
    )


def _logs(job_id: str, position: int) -> _Call[LogPage]:
    return _Call("GET", f"/jobs/{job_id}/logs", LogPage.model_validate, query={"from": str(position)}, retry=False)


def _cancel(job_id: str, reason: str, grace_seconds: int, timeout_seconds: float) -> _Call[JobStatus]:
    body = {"reason": reason, "grace_seconds": grace_seconds}
    return _Call("POST", f"/jobs/{job_id}/cancel", JobStatus.model_validate, body=body, timeout_seconds=timeout_seconds)


class PenstockHook(BaseHook):
    """A coordinator, named by an Airflow connection of type `penstock`.

    :param conn_id: host, port (7070) and schema (`http`, `https`) of the coordinator; extras `token`, `instance` and
        `verify`.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "penstock_default"
    conn_type = "penstock"
    hook_name = "Penstock"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self._settings: dict[str, Any] | None = None
        self._instance = "airflow"

    # -- connection ----------------------------------------------------------------------------------------------

    def prepare(self) -> PenstockHook:
        """Reads the connection now, so that later calls (in a signal handler, say) look nothing up."""
        if self._settings is None:
            self._read(self.get_connection(self.conn_id))
        return self

    async def aprepare(self) -> PenstockHook:
        """`prepare` for the triggerer."""
        if self._settings is None:
            self._read(await self.aget_connection(self.conn_id))
        return self

    def _read(self, connection: Any) -> None:
        extra = connection.extra_dejson
        verify: str | bool = extra.get("verify") or "true"
        if str(verify).lower() in ("true", "false"):
            verify = str(verify).lower() == "true"
        token = extra.get("token")
        scheme = connection.schema or "http"
        self._instance = extra.get("instance") or "airflow"
        self._settings = {
            "base_url": f"{scheme}://{connection.host or '127.0.0.1'}:{connection.port or 7070}/api/v1",
            "headers": {"authorization": f"Bearer {token}"} if token else {},
            "verify": verify,
        }

    @property
    def instance(self) -> str:
        """The name that tells this Airflow from others on the same cluster."""
        self.prepare()
        return self._instance

    def _send(self, call: _Call[Answer]) -> Answer:
        settings = self.prepare()._settings or {}
        pauses = call.pauses()
        with httpx.Client(**settings) as client:
            while True:
                try:
                    return call.read(
                        client.request(
                            call.method,
                            call.path,
                            json=call.body,
                            params=call.query,
                            timeout=call.timeout_seconds,
                        )
                    )
                except (httpx.TransportError, PenstockUnavailable) as error:
                    pause = next(pauses, None)
                    if pause is None:
                        raise _unavailable(settings, error) from error
                    time.sleep(pause)

    async def _asend(self, call: _Call[Answer]) -> Answer:
        settings = (await self.aprepare())._settings or {}
        pauses = call.pauses()
        async with httpx.AsyncClient(**settings) as client:
            while True:
                try:
                    return call.read(
                        await client.request(
                            call.method,
                            call.path,
                            json=call.body,
                            params=call.query,
                            timeout=call.timeout_seconds,
                        )
                    )
                except (httpx.TransportError, PenstockUnavailable) as error:
                    pause = next(pauses, None)
                    if pause is None:
                        raise _unavailable(settings, error) from error
                    await asyncio.sleep(pause)

    # -- calls ---------------------------------------------------------------------------------------------------

    def submit(self, request: JobRequest) -> Submitted:
        """Submits a job; with the key of an active or succeeded job, answers that job."""
        return self._send(_submit(request))

    def get(self, job_id: str, wait_seconds: float = 0, since: int | None = None) -> JobStatus:
        """The job now, or as soon as it differs from version `since`, `wait_seconds` at the latest."""
        return self._send(_get(job_id, wait_seconds, since))

    async def aget(self, job_id: str, wait_seconds: float = 0, since: int | None = None) -> JobStatus:
        """`get` for the triggerer."""
        return await self._asend(_get(job_id, wait_seconds, since))

    def logs(self, job_id: str, position: int = 0) -> LogPage:
        """Log lines from a position on."""
        return self._send(_logs(job_id, position))

    async def alogs(self, job_id: str, position: int = 0) -> LogPage:
        """`logs` for the triggerer."""
        return await self._asend(_logs(job_id, position))

    def cancel(
        self, job_id: str, reason: str, grace_seconds: int = 0, timeout_seconds: float = _CALL_TIMEOUT_SECONDS
    ) -> JobStatus:
        """Cancels a job; with a grace, only if nobody submits its key within that time."""
        return self._send(_cancel(job_id, reason, grace_seconds, timeout_seconds))

    async def acancel(
        self, job_id: str, reason: str, grace_seconds: int = 0, timeout_seconds: float = _CALL_TIMEOUT_SECONDS
    ) -> JobStatus:
        """`cancel` for the triggerer."""
        return await self._asend(_cancel(job_id, reason, grace_seconds, timeout_seconds))

    def cancel_by_key(self, key: str, reason: str, timeout_seconds: float = _CALL_TIMEOUT_SECONDS) -> None:
        """Cancels whatever a submission with this key started, also if its answer never came."""
        body = {"idempotency_key": key, "reason": reason}
        self._send(_Call("POST", "/jobs:cancelByKey", lambda _: None, body=body, timeout_seconds=timeout_seconds))

    def validate(self, request: JobRequest) -> dict[str, Any]:
        """Plans the script without running it; raises `PenstockRefused` with line and column if it is wrong."""
        return self._send(_Call("POST", "/jobs:validate", dict, body=request.body()))

    def info(self) -> dict[str, Any]:
        """Version, build and capabilities of the coordinator."""
        return self._send(_Call("GET", "/info", dict))

    def test_connection(self) -> tuple[bool, str]:
        """What the connection form's Test button shows."""
        try:
            info = self.info()
        except (PenstockRefused, PenstockUnavailable) as error:
            return False, str(error)
        return True, f"Penstock {info.get('version', '?')} answers"


def _unavailable(settings: dict[str, Any], error: Exception) -> PenstockUnavailable:
    return PenstockUnavailable(f"the coordinator at {settings['base_url']} does not answer: {error!r}")
