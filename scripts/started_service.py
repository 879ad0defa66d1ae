"""Owns an inference service of one's own, really started: its models, its settings, and what is seen of it from outside.

Knows nothing of who asks it what.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from packages import ROOT, StackError
from prometheus_client.parser import text_string_to_metric_families

from inference.model_store import STARTER

START_S = 180
STOP_S = 60
MODELS = ("soak-a", "soak-b")
"""The starter's weights under names of their own: what is swapped in and out."""


@dataclass(frozen=True)
class Service:
    """`pid` is of the process that holds the model; `parallel` answers are made at once, `waiting` more may wait."""

    url: str
    token: str
    admin_token: str
    pid: int
    parallel: int
    waiting: int
    deadline_s: float

    def client(self) -> httpx.AsyncClient:
        """For a caller: any number of connections, and patience for longer than any answer may take."""
        unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.AsyncClient(base_url=self.url, headers={"authorization": f"Bearer {self.token}"}, timeout=self.deadline_s + 60, limits=unlimited)

    def memory(self) -> "Memory":
        lines = (line.partition(":") for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        figures = {name: value for name, _, value in lines}
        if "VmRSS" not in figures:
            raise StackError("The service has ended")
        return Memory(*(int(figures[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")))


@dataclass(frozen=True)
class Memory:
    """MiB: everything resident, and of that what is no page of a file."""

    resident: float
    anonymous: float


@contextlib.contextmanager
def started(*, parallel: int, waiting: int, deadline_s: float, threads: int | None, context_tokens: int, kept: Path | None = None) -> Iterator[Service]:
    """The service with the settings' own model and `MODELS` to load; it is stopped at the end. `kept`: a folder that outlives it,
    for a service that is started again. Raises StackError when it does not start."""
    token, admin_token = secrets.token_hex(16), secrets.token_hex(16)
    with contextlib.nullcontext(kept) if kept else tempfile.TemporaryDirectory(prefix="soak-") as folder:
        for name in MODELS:
            _make_model(Path(folder) / "models" / name, name)
        port = _free_port()
        settings = {
            "INFERENCE_PORT": str(port), "INFERENCE_TOKEN": token, "INFERENCE_ADMIN_TOKEN": admin_token, "MODEL_FOLDER": f"{folder}/models", "PARALLEL": str(parallel),
            "QUEUE_LIMIT": str(waiting), "DEADLINE_S": str(deadline_s), "CONTEXT_TOKENS": str(context_tokens), "LOG_FORMAT": "json", **({"THREADS": str(threads)} if threads else {}),
        }  # fmt: skip
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "inference"], cwd=ROOT, env={**os.environ, **settings}, stdout=log, stderr=log)
            try:
                service = Service(f"http://127.0.0.1:{port}", token, admin_token, process.pid, parallel, waiting, deadline_s)
                _wait(service, process, Path(log.name))
                yield service
            finally:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


Samples = Mapping[tuple[str, ...], float]
"""By name and label values in the order of their names."""


async def scrape(client: httpx.AsyncClient) -> Samples:
    """Every sample of /metrics."""
    response = await client.get("/metrics")
    response.raise_for_status()
    return {(sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value for family in text_string_to_metric_families(response.text) for sample in family.samples}


def total(samples: Samples, *wanted: str) -> float:
    """The sum over all models of a metric; `wanted` is its name and, if more are given, label values."""
    return sum(value for key, value in samples.items() if key[0] == wanted[0] and set(wanted[1:]) <= set(key[1:]))


def _make_model(folder: Path, name: str) -> None:
    if folder.exists():
        return
    shutil.copytree(STARTER, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model"]["name"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait(service: Service, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until it is ready. Raises StackError when it ends before that, or takes too long."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise StackError(f"The service did not start: {(log.read_text().splitlines() or ['it said nothing'])[-1][:500]}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(f"{service.url}/readyz", timeout=5):
            return
        time.sleep(0.2)
    raise StackError(f"The service was not ready within {START_S} s")
