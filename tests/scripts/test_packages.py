"""Installing what the system needs: clear errors, and nothing again that is done."""

import subprocess
import sys
import threading
from pathlib import Path

import packages
import pytest
from packages import StackError


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"Cannot find node: install Node.js 20 or newer"):
        packages.check_tools()


def test_a_failing_install_is_named_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(StackError, match=r"failed with 1: no such package .*see .*log"):
        packages.run([sys.executable, "-c", "raise SystemExit('no such package')"], log)


def test_a_stamp_is_kept_only_when_the_work_ended_well(tmp_path: Path) -> None:
    stamp, source = tmp_path / "stamp", tmp_path / "source"

    def work(*, fails: bool = False) -> bool:
        with packages.unless_stamped(stamp, source) as needed:
            if fails:
                raise StackError("no network")
        return needed

    source.write_text("a")
    with pytest.raises(StackError):
        work(fails=True)
    assert [work(), work()] == [True, False]
    source.write_text("b")
    assert work()


def test_one_process_at_a_time_and_the_next_waits_and_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two `scripts/up` in one checkout broke each other's packages."""
    lock, order = tmp_path / "state" / "lock", list[str]()

    def second() -> None:
        with packages.alone(lock, "install"):
            order.append("second")

    with packages.alone(lock, "install"):
        waiting = threading.Thread(target=second)
        waiting.start()
        while "wait for another process to install" not in (said := capfd.readouterr().out):
            assert waiting.is_alive(), said
        order.append("first")
    waiting.join(30)
    assert order == ["first", "second"]


def test_who_is_killed_holds_nobody_up(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = f"import sys, time; sys.path.insert(0, {str(Path(packages.__file__).parent)!r})\nimport packages, pathlib\nwith packages.alone(pathlib.Path({str(lock)!r}), 'install'): print('has it', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "has it\n"
        holder.kill()
    with packages.alone(lock, "install"):
        pass
