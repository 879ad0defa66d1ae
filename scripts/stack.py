"""Owns the running local system: its parts, where they run, how they start, answer and stop.

Used by scripts/up and scripts/down. Standard library only, like scripts/packages.py. Local use only.
"""

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packages import DENO_ENVIRONMENT, FUNCTIONS, NODE_BIN, ROOT, VENV, StackError, last_line, run, step

MIGRATIONS = (ROOT / "supabase" / "baseline", ROOT / "supabase" / "migrations")
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 15


@dataclass(frozen=True)
class Places:
    """Where one running system keeps its state, and which ports it takes."""

    state: Path
    port: int
    inference_port: int

    @property
    def lite_port(self) -> int:
        return self.port + 1

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def models(self) -> Path:
        """Where the inference service keeps what it was told to load."""
        return self.state / "models"

    @property
    def artifacts(self) -> Path:
        """Where the trainer puts what it promotes."""
        return self.state / "artifacts"

    @property
    def project(self) -> Path:
        return self.state / "project"

    @property
    def lock(self) -> Path:
        """Held by whoever brings the system up or down."""
        return self.state / "lock"

    @property
    def running(self) -> Path:
        return self.state / "running.json"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def inference_url(self) -> str:
        return f"http://127.0.0.1:{self.inference_port}"


@dataclass(frozen=True)
class Child:
    """One program of the system: `healthy` is the address that answers once it is ready."""

    name: str
    command: list[str]
    cwd: Path
    env: Mapping[str, str]
    healthy: str
    headers: Mapping[str, str]


def arguments(description: str, examples: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=ROOT / ".stack", help="folder of data, keys and logs (default: .stack)")
    return parser


# --- the parts -----------------------------------------------------------------------------------------------------


def read_keys(places: Places) -> dict[str, str]:
    """This system's own keys, made once."""
    path = places.state / "keys.json"
    known = dict(json.loads(path.read_text())) if path.exists() else {}
    keys = {
        "SUPABASE_PUBLISHABLE_KEY": f"sb_publishable_{secrets.token_hex(16)}",
        "SUPABASE_SECRET_KEY": f"sb_secret_{secrets.token_hex(24)}",
        "JWT_SECRET": secrets.token_hex(32),
        "INFERENCE_TOKEN": secrets.token_hex(24),
        "INFERENCE_ADMIN_TOKEN": secrets.token_hex(24),
        **known,
    }
    if keys != known:
        path.touch(mode=0o600)
        path.write_text(json.dumps(keys, indent=2))
    return keys


def prepare_database(places: Places, keys: Mapping[str, str]) -> None:
    """Lay the app's own tables (local only) and our migrations before Supabase Lite, and apply what is new.

    Raises StackError when a migration that this database already holds has changed since: Lite would pass it over.
    """
    applied, sources = places.state / "migrations.json", migration_sums()
    known = json.loads(applied.read_text()) if applied.exists() else {}
    changed = sorted(name for name in known if sources.get(name) != known[name])
    if changed:
        raise StackError(f"Cannot use the database in {places.state}: it was made with another {changed[0]} (to begin anew, delete {places.state / 'database'} and {applied})")
    migrations = places.project / "supabase" / "migrations"
    shutil.rmtree(migrations, ignore_errors=True)
    migrations.mkdir(parents=True)
    for source in MIGRATIONS:
        for file in sorted(source.glob("*.sql")):
            shutil.copy(file, migrations / file.name)
    (places.project / "supabase" / "config.toml").write_text(
        f'[api]\nport = {places.lite_port}\n\n[db]\ndriver = "pglite"\nurl = "{places.state / "database"}"\n\n'
        f'[auth]\nenabled = true\njwt_secret = "{keys["JWT_SECRET"]}"\nenable_signup = true\n'
        'publishable_key = "env(SUPABASE_PUBLISHABLE_KEY)"\nsecret_key = "env(SUPABASE_SECRET_KEY)"\n\n[auth.email]\nenable_confirmations = false\n'
    )
    with step("apply migrations"):
        run([str(NODE_BIN / "lite"), "migration", "up"], places.logs / "migrations.log", cwd=places.project, env=lite_environment(keys))
    applied.write_text(json.dumps(sources, indent=2))


def migration_sums() -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for folder in MIGRATIONS for file in sorted(folder.glob("*.sql"))}


def lite_environment(keys: Mapping[str, str]) -> dict[str, str]:
    return {"LITE_TELEMETRY": "0", **{name: keys[name] for name in ("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY")}}


def children(places: Places, keys: Mapping[str, str]) -> list[Child]:
    return [inference(places, keys), lite(places, keys), gateway(places, keys)]


def inference(places: Places, keys: Mapping[str, str]) -> Child:
    return Child(
        "inference",
        [str(VENV / "bin" / "python"), "-m", "inference"],
        ROOT,
        {
            "INFERENCE_PORT": str(places.inference_port),
            "INFERENCE_TOKEN": keys["INFERENCE_TOKEN"],
            "INFERENCE_ADMIN_TOKEN": keys["INFERENCE_ADMIN_TOKEN"],
            "MODEL_FOLDER": str(folder(places.models)),
            "ARTIFACT_STORE": str(folder(places.artifacts)),
            "CONSOLE_SUPABASE_URL": places.url,
            "CONSOLE_SUPABASE_KEY": keys["SUPABASE_PUBLISHABLE_KEY"],
        },
        f"{places.inference_url}/healthz",
        {},
    )


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def lite(places: Places, keys: Mapping[str, str]) -> Child:
    return Child(
        "database",
        [str(NODE_BIN / "lite"), "start", "--no-admin"],
        places.project,
        lite_environment(keys),
        f"http://127.0.0.1:{places.lite_port}/rest/v1/slm_org_settings?limit=0",
        {"apikey": keys["SUPABASE_SECRET_KEY"]},
    )


def gateway(places: Places, keys: Mapping[str, str]) -> Child:
    permissions = ["--allow-net=127.0.0.1", "--allow-env", f"--allow-read={FUNCTIONS}"]
    return Child(
        "gateway",
        [
            str(NODE_BIN / "deno"),
            "run",
            "--quiet",
            "--frozen",
            "--cached-only",
            "--config",
            str(FUNCTIONS / "deno.json"),
            *permissions,
            str(ROOT / "scripts" / "gateway.ts"),
            str(places.port),
            f"http://127.0.0.1:{places.lite_port}",
            str(FUNCTIONS),
        ],
        ROOT,
        {
            "SUPABASE_URL": f"http://127.0.0.1:{places.lite_port}",
            "SUPABASE_SECRET_KEYS": json.dumps({"default": keys["SUPABASE_SECRET_KEY"]}),
            "LEGACY_JWT_SECRET": keys["JWT_SECRET"],
            "INFERENCE_URL": places.inference_url,
            "INFERENCE_TOKEN": keys["INFERENCE_TOKEN"],
            "NO_COLOR": "1",
            **DENO_ENVIRONMENT,
        },
        f"{places.url}/healthz",
        {},
    )


# --- start and stop ------------------------------------------------------------------------------------------------


def start(places: Places, wanted: list[Child]) -> None:
    """Start every child, wait until each answers; on any failure stop them all again."""
    check_ports(places)
    (places.state / "ports.json").write_text(json.dumps({"port": places.port, "inference_port": places.inference_port}))
    try:
        for child in wanted:
            spawn(places, child)
        for child in wanted:
            with step(f"start {child.name}"):
                wait_until_healthy(places, child)
    except BaseException:
        stop(places)
        raise


def is_running(places: Places) -> bool:
    """Whether the whole system runs already. Raises StackError when it runs on other ports than these."""
    known = read_running(places)
    if set(known) != {"inference", "database", "gateway"} or not all(is_alive(entry) for entry in known.values()):
        return False
    if read_ports(places) != (places.port, places.inference_port):
        raise StackError(f"Cannot start: the system in {places.state} runs on other ports {read_ports(places)} (stop it with scripts/down, or choose another --state)")
    return True


def read_ports(places: Places) -> tuple[int, int]:
    ports = json.loads((places.state / "ports.json").read_text())
    return ports["port"], ports["inference_port"]


def check_ports(places: Places) -> None:
    """Raises StackError when another program listens on one of the system's ports."""
    for port in (places.port, places.lite_port, places.inference_port):
        check_port(port)


def check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StackError(f"Cannot use port {port}: another program listens there (choose another with --port or --inference-port)") from None


def spawn(places: Places, child: Child) -> None:
    """Start a child in a process group of its own and write down which process it is."""
    with (places.logs / f"{child.name}.log").open("a") as log:
        process = subprocess.Popen(child.command, cwd=child.cwd, env={**os.environ, **child.env}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    process.returncode = 0  # it outlives this object on purpose: no warning about that
    known = read_running(places)
    known[child.name] = {"pid": process.pid, "began": process_began(process.pid)}
    write_running(places, known)


def wait_until_healthy(places: Places, child: Child) -> None:
    """Wait until the child answers. Raises StackError when it dies first, or is silent for `START_TIMEOUT_S`.

    Nothing connects before something listens: a port in the kernel's ephemeral range that nobody holds may be given to
    the very connection that asks for it, which then talks to itself.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if not is_alive(read_running(places)[child.name]):
            raise StackError(f"Cannot start {child.name}: {last_line(places.logs / f'{child.name}.log')} (see {places.logs / f'{child.name}.log'})")
        if is_listened_to(urllib.parse.urlsplit(child.healthy).port) and answers(child):
            return
        time.sleep(0.05)
    raise StackError(f"Cannot start {child.name}: no answer at {child.healthy} after {START_TIMEOUT_S} s (see {places.logs / f'{child.name}.log'})")


def is_listened_to(port: int | None) -> bool:
    """Whether some process listens on this TCP port, by the kernel's own tables: asking makes no connection."""
    rows = [line.split() for table in ("tcp", "tcp6") if (path := Path("/proc/net", table)).exists() for line in path.read_text().splitlines()[1:]]
    return any(state == "0A" and int(address.rpartition(":")[2], 16) == port for _, address, _, state, *_ in rows)


def answers(child: Child) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(child.healthy, headers=dict(child.headers)), timeout=2).close()
    except (OSError, http.client.HTTPException):
        return False
    return True


def stop(places: Places) -> list[str]:
    """Stop exactly the processes that `spawn` wrote down, with all that they started, and say which were there."""
    known = read_running(places)
    alive = [name for name, entry in known.items() if group_is_alive(entry)]
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        for name in alive:
            if group_is_alive(known[name]):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(known[name]["pid"], signal_number)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while any(group_is_alive(known[name]) for name in alive) and time.monotonic() < deadline:
            time.sleep(0.05)
    places.running.unlink(missing_ok=True)
    return alive


def group_is_alive(entry: Mapping[str, Any]) -> bool:
    """Whether a child, or something that it started, is still there: a child leads a process group of its own."""
    if is_alive(entry):
        return True
    if process_began(entry["pid"]) is not None:
        return False
    try:
        os.killpg(entry["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False
    return has_members(entry["pid"])


def has_members(group: int) -> bool:
    """Whether a process group holds more than zombies."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                return True
    return False


def read_running(places: Places) -> dict[str, Any]:
    return dict(json.loads(places.running.read_text())) if places.running.exists() else {}


def write_running(places: Places, known: Mapping[str, Any]) -> None:
    part = places.running.with_suffix(".part")
    part.write_text(json.dumps(known))
    os.replace(part, places.running)


def is_alive(entry: Mapping[str, Any]) -> bool:
    """Whether the very process is still there: a pid may have gone to another one."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(entry["pid"], os.WNOHANG)
    return entry["began"] is not None and process_began(entry["pid"]) == entry["began"]


def process_began(pid: int) -> str | None:
    """The kernel's start time of a process; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


# --- requests ------------------------------------------------------------------------------------------------------


def call(url: str, body: Any, headers: Mapping[str, str]) -> Any:
    """POSTs a body as JSON, or GETs where there is none (None). Raises StackError."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        raise StackError(f"{url} answered {error.code}: {error.read()[:300].decode(errors='replace')}") from None
    except OSError as error:
        raise StackError(f"{url} did not answer: {error}") from None


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(), 1000 * (time.perf_counter() - began)


# --- one part again ------------------------------------------------------------------------------------------------


def restart(places: Places, name: str) -> None:
    """Start one part of a running system again after it has died; the others are not touched."""
    places = Places(places.state, *read_ports(places))
    child = next(child for child in children(places, read_keys(places)) if child.name == name)
    if is_alive(read_running(places)[name]):
        raise StackError(f"Cannot start {name}: it is running")
    spawn(places, child)
    wait_until_healthy(places, child)


def main() -> int:
    parser = arguments("Start one part of a running system again after it has died.", "example:\n  python3 scripts/stack.py inference\n")
    parser.add_argument("part", choices=["inference", "database", "gateway"])
    chosen = parser.parse_args()
    places = Places(chosen.state.resolve(), 0, 0)
    try:
        restart(places, chosen.part)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
