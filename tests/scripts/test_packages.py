"""Installing what the system needs: clear errors, and nothing again that is done."""

import sys
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
