"""Owns the one lease under which the learning loop runs: taken, kept alive by a thread of its own, given back.

What is written for a run goes through it, under its fence: once another process has taken the run over, nothing more
can be. Knows nothing of what a run does.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

from trainer.errors import ProjectUnreachable, RunAtWork, RunLost
from trainer.supabase_client import Project, open_project

LOST = "PT409"
"""The database's code for a fence that is not the current one."""
LEASE_S = 90.0
HEARTBEAT_S = 15.0

Status = Literal["done", "refused", "failed", "nothing_new"]
Opened = Callable[[], AbstractContextManager[Project]]


class Lease:
    """A run that is ours. Every call raises RunLost when it is not ours any more, or when nobody could be told for so long that it may not be."""

    def __init__(self, project: Project, run: str, fence: int, *, lease_s: float, taken_from: str | None, told_at: float) -> None:
        self.run, self.fence, self.taken_from = run, fence, taken_from
        self._project = project
        self._lease_s = lease_s
        self._told_at = told_at
        self._news: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._why_lost: str | None = None

    def check(self) -> None:
        """Whether the run is still ours, by what is known here: asks nobody."""
        if self._why_lost is None and time.monotonic() - self._told_at > self._lease_s:
            self._why_lost = f"nobody could be told for {self._lease_s:.0f} s that this process lives"
        if self._why_lost is not None:
            raise RunLost(f"Cannot go on: {self._why_lost}")

    def note(self, **progress: Any) -> None:
        """What the next heartbeat shall show of the stage at work."""
        self.check()
        with self._lock:
            self._news = {"p_progress": {**progress, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}}

    def enter(self, stage: str, **known: Any) -> None:
        """Show at once which stage is at work. `known`: dataset_ids, manifest."""
        with self._lock:
            self._news = {}
        self.write("slm_beat_training_run", p_lease_s=self._lease_s, p_stage=stage, p_progress={}, **{f"p_{name}": value for name, value in known.items()})

    def write(self, function: str, **parameters: Any) -> Any:
        """The result of a database function that writes for this run, under its fence."""
        self.check()
        return self._call(self._project, function, parameters)

    def finish(self, status: Status, why: str | None = None, manifest: Mapping[str, Any] | None = None) -> None:
        self.write("slm_finish_training_run", p_status=status, p_why=why, p_manifest=dict(manifest or {}))

    def beat(self, project: Project) -> None:
        """Say that this process lives, with the latest news. A project that cannot be reached is told next time."""
        with self._lock:
            news, self._news = self._news, {}
        try:
            self._call(project, "slm_beat_training_run", {"p_lease_s": self._lease_s, **news})
        except ProjectUnreachable:
            with self._lock:
                self._news = self._news or news

    def _call(self, project: Project, function: str, parameters: Mapping[str, Any]) -> Any:
        asked_at = time.monotonic()
        try:
            result = project.call(function, p_run=self.run, p_fence=self.fence, **parameters)
        except ProjectUnreachable as error:
            if error.code != LOST:
                raise
            self._why_lost = str(error).partition(": ")[2]
            raise RunLost(f"Cannot go on: {self._why_lost}") from None
        if function == "slm_beat_training_run":
            self._told_at = asked_at
        return result


@contextmanager
def leased(
    project: Project,
    features: Sequence[str],
    preset: str,
    *,
    manifest: Mapping[str, Any] | None = None,
    lease_s: float = LEASE_S,
    heartbeat_s: float = HEARTBEAT_S,
    opened: Opened = open_project,
) -> Iterator[Lease]:
    """The lease until the block ends. Raises RunAtWork when a living process holds it.

    The heartbeats have a connection of their own (`opened`). Whatever the block raises ends the run as failed, unless the
    block has ended it itself or has lost it.
    """
    asked_at = time.monotonic()
    got = project.call("slm_take_training_lease", p_holder=this_process(), p_features=list(features), p_preset=preset, p_lease_s=lease_s, p_manifest=dict(manifest or {}))
    if not got["taken"]:
        raise RunAtWork(f"A run is at work already: {got['holder']}, in {got['stage'] or 'its beginning'}, last heard of at {got['heartbeat_at'][:19]}Z")
    lease = Lease(project, got["run"], got["fence"], lease_s=lease_s, taken_from=got["from"], told_at=asked_at)
    stop = threading.Event()
    thread = threading.Thread(target=_keep_alive, args=(lease, stop, heartbeat_s, opened), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lease
    except RunLost:
        raise
    except BaseException as error:
        _end_as_failed(lease, str(error) or type(error).__name__)
        raise
    finally:
        stop.set()
        thread.join()


def this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def _keep_alive(lease: Lease, stop: threading.Event, heartbeat_s: float, opened: Opened) -> None:
    while not stop.wait(heartbeat_s):
        try:
            with opened() as project:
                while not stop.is_set():
                    lease.beat(project)
                    stop.wait(heartbeat_s)
        except RunLost:
            return
        except ProjectUnreachable:
            continue


def _end_as_failed(lease: Lease, why: str) -> None:
    """Best effort: a run that cannot say so is taken over when its lease ends."""
    try:
        lease.finish("failed", why[:500])
    except (RunLost, ProjectUnreachable):
        return
