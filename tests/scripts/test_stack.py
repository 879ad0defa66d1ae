"""Starting and stopping the local system: clear errors, nothing left behind."""

import os
import socket
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import stack
from stack import Child, Places, StackError


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    places = Places(tmp_path, free_port(), free_port())
    places.logs.mkdir()
    yield places
    stack.stop(places)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def child(places: Places, name: str, code: str, port: int) -> Child:
    return Child(name, [sys.executable, "-c", code], places.state, {}, f"http://127.0.0.1:{port}/", {})


SERVER = "import http.server;http.server.HTTPServer(('127.0.0.1',{}),http.server.SimpleHTTPRequestHandler).serve_forever()"


def test_what_was_started_is_stopped(places: Places) -> None:
    stack.start(places, [child(places, "one", SERVER.format(places.port), places.port)])
    entry = stack.read_running(places)["one"]
    assert stack.is_alive(entry)
    assert stack.stop(places) == ["one"]
    assert not stack.is_alive(entry)
    assert stack.stop(places) == []


def test_a_busy_port_is_named_and_nothing_starts(places: Places) -> None:
    with HTTPServer(("127.0.0.1", places.port), BaseHTTPRequestHandler), pytest.raises(StackError, match=f"Cannot use port {places.port}: another program listens there"):
        stack.start(places, [child(places, "one", SERVER.format(1), 1)])
    assert stack.read_running(places) == {}


def test_a_dead_child_is_named_with_its_last_words_and_the_others_are_stopped(places: Places) -> None:
    healthy = child(places, "healthy", SERVER.format(places.port), places.port)
    dead = child(places, "dead", "raise SystemExit('the disk is full')", places.inference_port)
    with pytest.raises(StackError, match="Cannot start dead: the disk is full"):
        stack.start(places, [healthy, dead])
    assert stack.read_running(places) == {}
    stack.check_port(places.port)


def test_a_pid_that_went_to_another_process_is_left_alone(places: Places) -> None:
    stack.write_running(places, {"one": {"pid": os.getpid(), "began": "1"}})
    assert stack.stop(places) == []


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"Cannot find node: install Node.js 20 or newer"):
        stack.check_tools()


def test_a_failing_install_is_named_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(StackError, match=r"failed with 1: no such package .*see .*log"):
        stack.run([sys.executable, "-c", "raise SystemExit('no such package')"], log)


def test_a_stamp_is_kept_only_when_the_work_ended_well(tmp_path: Path) -> None:
    stamp, source = tmp_path / "stamp", tmp_path / "source"

    def work(*, fails: bool = False) -> bool:
        with stack.unless_stamped(stamp, source) as needed:
            if fails:
                raise StackError("no network")
        return needed

    source.write_text("a")
    with pytest.raises(StackError):
        work(fails=True)
    assert [work(), work()] == [True, False]
    source.write_text("b")
    assert work()


def test_keys_are_made_once_and_for_the_owner_only(places: Places) -> None:
    first = stack.read_keys(places)
    assert stack.read_keys(places) == first
    assert (places.state / "keys.json").stat().st_mode & 0o077 == 0
    assert len({*first.values()}) == 4
