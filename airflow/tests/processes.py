"""Starts and ends the real processes that the tests talk to: a Penstock cluster and an Airflow."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
TESTS = Path(__file__).parent


def penstock_binary() -> str:
    """The binary under test; its absence is a failure, never a skip."""
    path = os.environ.get("PENSTOCK_BIN")
    assert path, "set PENSTOCK_BIN to the penstock binary (make test does)"
    assert Path(path).is_file(), f"PENSTOCK_BIN={path} is no file"
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, seconds: float, look: Callable[[], T | None]) -> T:
    """What `look` sees as soon as it sees something; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen = look()
        if seen is not None:
            return seen
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:g} s")


class Cluster:
    """A local cluster of real processes, from `penstock cluster up`."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def __enter__(self) -> Cluster:
        cluster = json.loads(self._penstock("cluster", "up", "--port", "0", "--json"))
        self.url: str = cluster["url"]
        self.rest_port = httpx.URL(self.url).port
        return self

    def __exit__(self, *_: object) -> None:
        self._penstock("cluster", "down")

    def _penstock(self, *arguments: str) -> str:
        command = [penstock_binary(), *arguments, "--state", str(self.state)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def jobs(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/jobs").raise_for_status()
        jobs: list[dict[str, Any]] = answer.json()["jobs"]
        return jobs


def airflow_environment(home: Path, cluster: Cluster, api_port: int) -> dict[str, str]:
    """Everything has to be set before Airflow is imported."""
    settings = {
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(TESTS / "dags"),
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{api_port}/execution/",
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "API__PORT": str(api_port),
        "API__HOST": "127.0.0.1",
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }
    connection = {"conn_type": "penstock", "host": "127.0.0.1", "port": cluster.rest_port}
    return {
        **os.environ,
        **{f"AIRFLOW__{key}": value for key, value in settings.items()},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_PENSTOCK_DEFAULT": json.dumps(connection),
        "PENSTOCK_TEST_BASE_URL": f"file://{home}/data/",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


class Airflow:
    """`airflow standalone` on SQLite."""

    def __init__(self, home: Path, cluster: Cluster) -> None:
        self.home = home
        self.port = free_port()
        self.environment = airflow_environment(home, cluster, self.port)

    def __enter__(self) -> Airflow:
        self.home.mkdir(parents=True)
        self.log = (self.home / "standalone.log").open("wb")
        # An own process group: a plain TERM would leave orphans that corrupt the next run.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            env=self.environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            until("airflow is healthy", 120, self._healthy)
            token = httpx.get(f"{self.url}/auth/token").raise_for_status().json()["access_token"]
            self.client = httpx.Client(
                base_url=f"{self.url}/api/v2", headers={"authorization": f"Bearer {token}"}, timeout=30
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _healthy(self) -> bool | None:
        assert self.process.poll() is None, (self.home / "standalone.log").read_text()[-4000:]
        try:
            health = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=2).json()
        except (httpx.TransportError, ValueError):
            return None
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return True if all((health.get(p) or {}).get("status") == "healthy" for p in parts) else None

    def run_dag(self, dag_id: str, seconds: float) -> dict[str, Any]:
        """Triggers a DAG and answers its run when it has ended."""

        def trigger() -> str | None:
            answer = self.client.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None})
            # The DAG processor may not have read the file yet.
            return answer.json()["dag_run_id"] if answer.is_success else None

        self.client.patch(f"/dags/{dag_id}", json={"is_paused": False})
        run_id = until(f"{dag_id} is triggered", 60, trigger)
        self.client.patch(f"/dags/{dag_id}", json={"is_paused": False}).raise_for_status()

        def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = self.client.get(f"/dags/{dag_id}/dagRuns/{run_id}").raise_for_status().json()
            return run if run["state"] in ("success", "failed") else None

        return until(f"{dag_id} ends", seconds, ended)

    def xcom(self, run: dict[str, Any], task_id: str, key: str) -> Any:
        path = f"/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.client.get(path).raise_for_status().json()["value"]

    def logs(self, run: dict[str, Any], task_id: str, try_number: int = 1) -> str:
        path = f"/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}/taskInstances/{task_id}/logs/{try_number}"
        return self.client.get(path, params={"full_content": True}).raise_for_status().text
