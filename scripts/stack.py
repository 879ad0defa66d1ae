"""Owns the local system: what it needs, how its parts start, where they run, how they stop.

Used by scripts/up and scripts/down; standard library only, because it installs everything else. Local use only.
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
NODE_BIN = ROOT / "node_modules" / ".bin"
FUNCTIONS = ROOT / "supabase" / "functions"
E2E = ROOT / "tests" / "e2e"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 15


class StackError(Exception):
    """One line that says what is wrong and what to do."""


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
    def project(self) -> Path:
        return self.state / "project"

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


# --- progress ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def step(title: str, hint: str = "") -> Iterator[None]:
    """Print a step when it begins and what it took; say every 15 s that it still works."""
    began, done = time.monotonic(), threading.Event()
    print(f"· {title}{f' ({hint})' if hint else ''}", flush=True)

    def tick() -> None:
        while not done.wait(15):
            print(f"    … {time.monotonic() - began:.0f} s", flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()
    print(f"  ✓ {title}, {time.monotonic() - began:.1f} s", flush=True)


# --- install -------------------------------------------------------------------------------------------------------


def install(places: Places) -> None:
    """Everything the system needs, into the checkout; nothing when the lock files are the same as last time."""
    check_tools()
    places.logs.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        node = pool.submit(install_node, places.logs / "install-node.log")
        install_python(places.logs / "install-python.log")
        node.result()


def check_tools() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this file runs before anything checked it
        raise StackError(f"Cannot go on with Python {sys.version.split()[0]}: 3.11 or newer is needed")
    if importlib.util.find_spec("ensurepip") is None:
        raise StackError("Cannot make a virtual environment: install it (Debian: python3-venv)")
    for tool, why in (
        ("node", "install Node.js 20 or newer"),
        ("npm", "install npm"),
        ("cc", "install a C compiler (Debian: build-essential)"),
        ("c++", "install a C++ compiler (Debian: build-essential)"),
    ):
        if shutil.which(tool) is None:
            raise StackError(f"Cannot find {tool}: {why}")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        raise StackError(f"Cannot go on with Node.js {version}: 20 or newer is needed")


def install_python(log: Path) -> None:
    lock = ROOT / "requirements.lock"
    with unless_stamped(VENV / ".installed", lock) as needed:
        if needed:
            with step("install Python packages", "compiles llama-cpp-python: about 4 minutes on 2 cores"):
                if not (VENV / "bin" / "pip").exists():
                    shutil.rmtree(VENV, ignore_errors=True)
                    run([sys.executable, "-m", "venv", str(VENV)], log)
                limits = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 2)}
                run([str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(lock)], log, env=limits)


def install_node(log: Path) -> None:
    with unless_stamped(ROOT / "node_modules" / ".installed", ROOT / "package-lock.json") as needed:
        if needed:
            run(["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"], log)
    for config, sources in ((FUNCTIONS / "deno.json", sorted(FUNCTIONS.glob("*/index.ts"))), (E2E / "deno.json", [E2E / "project.ts"])):
        with unless_stamped(ROOT / "node_modules" / f".cached-{config.parent.name}", config.with_name("deno.lock")) as needed:
            if needed:
                cache(config, sources, log)


def cache(config: Path, sources: list[Path], log: Path) -> None:
    run([str(NODE_BIN / "deno"), "cache", "--quiet", "--frozen", "--config", str(config), *map(str, sources)], log)


@contextlib.contextmanager
def unless_stamped(stamp: Path, source: Path) -> Iterator[bool]:
    """Whether `source` has changed since the last time this block ended well."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    needed = not stamp.exists() or stamp.read_text() != digest
    yield needed
    if needed:
        stamp.write_text(digest)


def run(command: list[str], log: Path, *, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> None:
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        code = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        raise StackError(f"{Path(command[0]).name} {' '.join(command[1:4])} failed with {code}: {last_line(log)} (see {log})")


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return lines[-1][:300] if lines else "no output"


# --- the parts -----------------------------------------------------------------------------------------------------


def read_keys(places: Places) -> dict[str, str]:
    """This system's own keys, made once."""
    path = places.state / "keys.json"
    if not path.exists():
        keys = {
            "SUPABASE_PUBLISHABLE_KEY": f"sb_publishable_{secrets.token_hex(16)}",
            "SUPABASE_SECRET_KEY": f"sb_secret_{secrets.token_hex(24)}",
            "JWT_SECRET": secrets.token_hex(32),
            "INFERENCE_TOKEN": secrets.token_hex(24),
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(keys, indent=2))
    return dict(json.loads(path.read_text()))


def prepare_database(places: Places, keys: Mapping[str, str]) -> None:
    """Lay the app's own tables (local only) and our migrations before Supabase Lite, and apply what is new."""
    migrations = places.project / "supabase" / "migrations"
    shutil.rmtree(migrations, ignore_errors=True)
    migrations.mkdir(parents=True)
    for source in (ROOT / "supabase" / "baseline", ROOT / "supabase" / "migrations"):
        for file in sorted(source.glob("*.sql")):
            shutil.copy(file, migrations / file.name)
    (places.project / "supabase" / "config.toml").write_text(
        f'[api]\nport = {places.lite_port}\n\n[db]\ndriver = "pglite"\nurl = "{places.state / "database"}"\n\n'
        f'[auth]\nenabled = true\njwt_secret = "{keys["JWT_SECRET"]}"\nenable_signup = true\n'
        'publishable_key = "env(SUPABASE_PUBLISHABLE_KEY)"\nsecret_key = "env(SUPABASE_SECRET_KEY)"\n\n[auth.email]\nenable_confirmations = false\n'
    )
    with step("apply migrations"):
        run([str(NODE_BIN / "lite"), "migration", "up"], places.logs / "migrations.log", cwd=places.project, env=lite_environment(keys))


def lite_environment(keys: Mapping[str, str]) -> dict[str, str]:
    return {"LITE_TELEMETRY": "0", **{name: keys[name] for name in ("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY")}}


def children(places: Places, keys: Mapping[str, str]) -> list[Child]:
    return [inference(places, keys), lite(places, keys), gateway(places, keys)]


def inference(places: Places, keys: Mapping[str, str]) -> Child:
    return Child(
        "inference",
        [str(VENV / "bin" / "python"), "-m", "inference"],
        ROOT,
        {"INFERENCE_PORT": str(places.inference_port), "INFERENCE_TOKEN": keys["INFERENCE_TOKEN"]},
        f"{places.inference_url}/healthz",
        {},
    )


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
            "SUPABASE_URL": places.url,
            "SUPABASE_SECRET_KEYS": json.dumps({"default": keys["SUPABASE_SECRET_KEY"]}),
            "LEGACY_JWT_SECRET": keys["JWT_SECRET"],
            "INFERENCE_URL": places.inference_url,
            "INFERENCE_TOKEN": keys["INFERENCE_TOKEN"],
            "NO_COLOR": "1",
        },
        f"{places.url}/healthz",
        {},
    )


# --- start and stop ------------------------------------------------------------------------------------------------


def start(places: Places, wanted: list[Child]) -> None:
    """Start every child, wait until each answers; on any failure stop them all again."""
    for port in (places.inference_port, places.lite_port, places.port):
        check_port(port)
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
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if not is_alive(read_running(places)[child.name]):
            raise StackError(f"Cannot start {child.name}: {last_line(places.logs / f'{child.name}.log')} (see {places.logs / f'{child.name}.log'})")
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(urllib.request.Request(child.healthy, headers=dict(child.headers)), timeout=2).close()
            return
        time.sleep(0.05)
    raise StackError(f"Cannot start {child.name}: no answer at {child.healthy} after {START_TIMEOUT_S} s (see {places.logs / f'{child.name}.log'})")


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
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **headers})
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
    parser = arguments("Install what the system needs, or start one part of a running system again.", "examples:\n  python3 scripts/stack.py install\n  python3 scripts/stack.py inference\n")
    parser.add_argument("what", choices=["install", "inference", "database", "gateway"])
    chosen = parser.parse_args()
    places = Places(chosen.state.resolve(), 0, 0)
    try:
        if chosen.what == "install":
            install(places)
        else:
            restart(places, chosen.what)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
