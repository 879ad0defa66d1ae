"""What `python -m trainer finetune` refuses before it starts anything: one line each. And one real fine-tune from the command line."""

from pathlib import Path

import pytest

from trainer.cli import main


def refuse(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["finetune", *map(str, words)]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


def test_a_folder_with_other_files_is_left_alone(chat_rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("meow")
    assert "it holds files that no fine-tune made" in refuse(capsys, "--data", chat_rows, "--out", tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.png").read_text() == "meow"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--preset", "llama-4"], "There is no preset 'llama-4': the presets are"),
        (["--base", "/no/such/folder"], "Cannot find the base in /no/such/folder: it is neither a folder nor a Hugging Face id"),
        (["--set", "rank"], "write it as key=value"),
        (["--override", "/no/such.yaml"], "Cannot read the overrides in /no/such.yaml: No such file or directory"),
        (["--nodes", "2"], "give --meeting HOST:PORT of the first"),
        (["--ray"], "Axolotl asks Ray for them"),
        (["--base", ".", "--axolotl", "/no/such/venv"], "Cannot find Axolotl in /no/such/venv: run scripts/setup-axolotl first"),
    ],
)
def test_what_cannot_be_done_is_one_line(chat_rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    assert line in refuse(capsys, "--data", chat_rows, "--out", tmp_path / "out", *words)


def test_no_data_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in refuse(capsys, "--data", tmp_path / "gone.jsonl", "--out", tmp_path / "out")


@pytest.mark.axolotl
def test_the_command_trains_once_and_then_knows_that_it_has(axolotl: Path, tiny_llama: Path, chat_rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["finetune", "--method", "qlora", "--base", str(tiny_llama), "--data", str(chat_rows), "--out", str(tmp_path / "out")]
    words += ["--batch", "8", "--sequence-len", "256", "--rank", "4", "--set", "warmup_steps=1", "--axolotl", str(axolotl)]
    assert main(words) == 0
    first = capsys.readouterr()
    assert "fine-tune: step 4 of 4, loss " in first.err
    assert "4 steps, loss 5." in first.out
    assert main(words) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "step" not in again.err
