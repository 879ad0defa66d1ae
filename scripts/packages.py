"""Owns what the system needs on a machine: tools, Python and Node packages, cached edge imports, the built console. Installs into the checkout.

Knows nothing of running it. Standard library only, because it installs everything else.
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
NODE_BIN = ROOT / "node_modules" / ".bin"
FUNCTIONS = ROOT / "supabase" / "functions"
E2E = ROOT / "tests" / "e2e"
CONSOLE = ROOT / "supabase" / "console"
DENO_ENVIRONMENT = {"DENO_DIR": str(ROOT / "node_modules" / ".deno")}
"""Deno's packages lie in the checkout like everything else, so that the stamp beside them says the truth about them."""


class StackError(Exception):
    """One line that says what is wrong and what to do."""


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


# --- one at a time -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Wait until nobody else does `what`, and keep others from it for the block; the kernel lets go for whoever is killed."""
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"wait for another process to {what}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- install -------------------------------------------------------------------------------------------------------


def install(logs: Path) -> None:
    """Everything the system needs, into the checkout; nothing when the lock files are the same as last time."""
    check_tools()
    logs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs.mkdir(exist_ok=True)
    with alone(ROOT / ".stack" / "install.lock", "install into this checkout"), concurrent.futures.ThreadPoolExecutor(2) as pool:
        node = pool.submit(install_node, logs / "install-node.log")
        console = pool.submit(build_console, logs / "install-console.log")
        install_python(logs / "install-python.log")
        node.result()
        console.result()


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
    if tuple(map(int, version.removeprefix("v").split(".")[:2])) < (20, 19):
        raise StackError(f"Cannot go on with Node.js {version}: 20.19 or newer is needed")


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


def build_console(log: Path) -> None:
    """The console's static files, into its dist folder, when its sources or packages are not those of the last time."""
    modules = CONSOLE / "node_modules"
    with unless_stamped(modules / ".installed", CONSOLE / "package-lock.json") as needed:
        if needed:
            run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], log, cwd=CONSOLE)
    made_of = [path for path in CONSOLE.rglob("*") if path.is_file() and path.relative_to(CONSOLE).parts[0] not in ("node_modules", "dist", "test")]
    shared = [FUNCTIONS / "_shared" / name for name in ("features.gen.ts", "reject.ts", "clean_text.ts")]
    with unless_stamped(modules / ".built", *sorted([*made_of, *shared]), also=CONSOLE / "dist" / "index.html") as needed:
        if needed:
            run([str(modules / ".bin" / "vite"), "build"], log, cwd=CONSOLE)


def cache(config: Path, sources: list[Path], log: Path) -> None:
    run([str(NODE_BIN / "deno"), "cache", "--quiet", "--frozen", "--config", str(config), *map(str, sources)], log, env=DENO_ENVIRONMENT)


@contextlib.contextmanager
def unless_stamped(stamp: Path, *sources: Path, also: Path | None = None) -> Iterator[bool]:
    """Whether `sources` have changed since the last time this block ended well, or what it makes (`also`) is not there."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(source.read_bytes()).digest() for source in sources)).hexdigest()
    needed = not stamp.exists() or stamp.read_text() != digest or (also is not None and not also.exists())
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


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Install what the system needs into this checkout.", epilog="example:\n  python3 scripts/packages.py", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logs", type=Path, default=ROOT / ".stack" / "logs", help="folder of the installers' output (default: .stack/logs)")
    try:
        install(parser.parse_args().logs.resolve())
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
