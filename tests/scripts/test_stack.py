"""Starting and stopping the local system: clear errors, nothing left behind."""

import contextlib
import os
import random
import socket
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import stack
from packages import StackError
from stack import Child, Places


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    places = Places(tmp_path, free_pair(), free_port())
    places.logs.mkdir()
    yield places
    stack.stop(places)


def free_pair() -> int:
    """A port that is free together with the next one, below those that the system hands out to connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 1))
            return port


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def child(places: Places, name: str, code: str, port: int) -> Child:
    return Child(name, [sys.executable, "-c", code], places.state, {}, f"http://127.0.0.1:{port}/", {})


SERVER = "import http.server;http.server.HTTPServer(('127.0.0.1',{}),http.server.SimpleHTTPRequestHandler).serve_forever()"
NONSENSE_FIRST = """
import socket
server = socket.create_server(("127.0.0.1", {}))
reply = b"GET / HTTP/1.1\\r\\n\\r\\n"
while True:
    connection, _ = server.accept()
    connection.recv(4096)
    connection.sendall(reply)
    connection.close()
    reply = b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n"
"""


def test_what_was_started_is_stopped(places: Places) -> None:
    stack.start(places, [child(places, "one", SERVER.format(places.port), places.port)])
    entry = stack.read_running(places)["one"]
    assert stack.is_alive(entry)
    assert stack.stop(places) == ["one"]
    assert not stack.is_alive(entry)
    assert stack.stop(places) == []


def test_a_child_that_first_answers_nonsense_is_waited_for(places: Places) -> None:
    stack.start(places, [child(places, "slow", NONSENSE_FIRST.format(places.port), places.port)])
    assert stack.is_alive(stack.read_running(places)["slow"])


def test_whether_a_port_is_listened_to_is_known_without_connecting() -> None:
    port = free_port()
    assert not stack.is_listened_to(port)
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(0)
        assert stack.is_listened_to(port)
        with pytest.raises(BlockingIOError):
            server.accept()


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


def test_keys_are_made_once_and_for_the_owner_only(places: Places) -> None:
    first = stack.read_keys(places)
    assert stack.read_keys(places) == first
    assert (places.state / "keys.json").stat().st_mode & 0o077 == 0
    assert len({*first.values()}) == len(first) == 5


def test_a_database_made_with_other_migrations_is_refused_before_anything_runs(places: Places) -> None:
    (places.state / "migrations.json").write_text('{"20261122000001_slm_org_settings.sql": "0"}')
    with pytest.raises(StackError, match=r"it was made with another 20261122000001_slm_org_settings.sql \(to begin anew, delete"):
        stack.prepare_database(places, {})
    assert not places.project.exists()
