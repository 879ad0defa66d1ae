"""Owns what asking a teacher costs: the estimate before, the cap during, and the log by which nothing is paid twice.

Knows nothing of what is asked. The log is a file of JSON lines that is only ever added to, each line on the disk before
the run goes on; a line that a kill has torn is no line.
"""

import fcntl
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from shared_schemas.closed import Closed
from trainer.data.teacher import Teacher
from trainer.errors import OverBudget, TeacherFailed
from trainer.stage import digest

BYTES_PER_TOKEN = 3
"""English prose and JSON have about 4 bytes a token; fewer here, so that an estimate errs upwards."""


class Question(Closed):
    """One call to a teacher: the body of its request, named by the hash of body, endpoint and model."""

    key: str
    body: dict[str, Any]
    max_output_tokens: int


class Reply(Closed):
    """What came back. `fault`: why there is no answer (`refusal`, `cut off`, `odd answer`); it is paid all the same.

    Tokens are 0 where it did not say how many; `usd` is the most that it may cost then.
    """

    key: str
    said: str
    fault: str | None
    model: str
    input_tokens: int
    output_tokens: int
    usd: float
    latency_ms: int
    at: str


class Estimate(Closed):
    """What questions may cost, in US dollars: about, with half of the longest answer each, and at most."""

    calls: int
    input_tokens: int
    about_usd: float
    at_most_usd: float


def make_question(teacher: Teacher, body: dict[str, Any]) -> Question:
    whole = {"model": teacher.model, **body}
    return Question(key=digest({"endpoint": teacher.endpoint, **whole}), body=whole, max_output_tokens=body["max_completion_tokens"])


def estimate(teacher: Teacher, questions: Sequence[Question]) -> Estimate:
    tokens = sum(input_tokens(question) for question in questions)
    longest = sum(question.max_output_tokens for question in questions)
    return Estimate(calls=len(questions), input_tokens=tokens, about_usd=teacher.usd(tokens, longest // 2), at_most_usd=teacher.usd(tokens, longest))


def input_tokens(question: Question) -> int:
    """An upper guess of what a question's body counts as; the bill goes by the teacher's own count."""
    return len(json.dumps(question.body, ensure_ascii=False).encode()) // BYTES_PER_TOKEN


def at_most_usd(teacher: Teacher, question: Question) -> float:
    return teacher.usd(input_tokens(question), question.max_output_tokens)


def agree(teacher: Teacher, wanted: Estimate, *, budget_usd: float, yes: bool, ask: Callable[[str], str] = input) -> None:
    """Let a person agree to the cost. Raises OverBudget when it is over what is left of the budget or nobody agrees."""
    cost = f"{wanted.calls} calls to {teacher.name}: about ${wanted.about_usd:.4f}, at most ${wanted.at_most_usd:.4f}"
    if wanted.about_usd > budget_usd:
        raise OverBudget(f"Cannot begin: {cost}, and ${budget_usd:.4f} of the budget is left (raise --budget-usd or ask for less)")
    if yes or wanted.at_most_usd == 0:
        return
    if not sys.stdin.isatty() and ask is input:
        raise OverBudget(f"Cannot begin: {cost}, and there is no terminal to agree on (add --yes)")
    if ask(f"{cost}, ${budget_usd:.4f} of the budget left. Go on? [y/N] ").strip().casefold() not in {"y", "yes"}:
        raise OverBudget(f"Nothing was asked: {cost}")


@dataclass
class Batch:
    """A job of the Batch API: a note that it carries, what each of its questions may cost (US dollars, by key), and its name once it is known."""

    note: str
    at_most_usd: Mapping[str, float]
    id: str | None = None


class CallLog:
    """What was asked and answered so far, and what it has cost: a call that nobody has seen the end of counts at its highest price."""

    def __init__(self, file: TextIO, lines: Sequence[dict[str, Any]]) -> None:
        self._file = file
        self.replies: dict[str, Reply] = {}
        self.ended_batches: set[str | None] = set()
        self._costs: dict[str, float] = {}
        self._reserved: dict[str, list[float]] = {}
        self._batches: dict[str, Batch] = {}
        for line in lines:
            self._take(line)

    def unanswered(self, questions: Iterable[Question]) -> list[Question]:
        """Those that must be asked yet, each once."""
        return list({question.key: question for question in questions if question.key not in self.replies}.values())

    def spent_usd(self, keys: Set[str]) -> float:
        """US dollars for these questions, in this run and in those before it."""
        return sum(self._costs.get(key, 0.0) for key in keys)

    def open_batches(self, questions: Iterable[Question]) -> list[Batch]:
        """Jobs that were begun and whose end is not in the log, if they hold one of these questions."""
        keys = {question.key for question in questions}
        return [batch for batch in self._batches.values() if not keys.isdisjoint(batch.at_most_usd)]

    def asked(self, key: str, at_most_usd: float) -> None:
        self._add({"asked": key, "at_most_usd": at_most_usd})

    def answered(self, reply: Reply) -> None:
        self._add({"reply": reply.model_dump(mode="json")})

    def turned_away(self, key: str) -> None:
        """The teacher said that it did not work on this call: it costs nothing."""
        self._add({"turned_away": key})

    def begin_batch(self, note: str, at_most_usd: Mapping[str, float]) -> Batch:
        """Before it is created: whatever happens then, the next run knows what was in it."""
        self._add({"batch": note, "at_most_usd": dict(at_most_usd)})
        return self._batches[note]

    def name_batch(self, batch: Batch, batch_id: str) -> None:
        self._add({"batch": batch.note, "id": batch_id})

    def end_batch(self, batch: Batch) -> None:
        """All its answers are in the log: the others cost nothing."""
        self._add({"ended": batch.note})

    def _add(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        match line:
            case {"asked": key, "at_most_usd": usd}:
                self._reserve(key, usd)
            case {"turned_away": key}:
                self._release(key)
            case {"reply": reply}:
                self.replies[reply["key"]] = Reply.model_validate(reply)
                self._release(reply["key"])
                self._charge(reply["key"], reply["usd"])
            case {"batch": note, "at_most_usd": prices}:
                self._batches[note] = Batch(note, prices)
                for key, usd in prices.items():
                    self._reserve(key, usd)
            case {"batch": note, "id": batch_id} if note in self._batches:
                self._batches[note].id = batch_id
            case {"ended": note} if note in self._batches:
                batch = self._batches.pop(note)
                self.ended_batches.add(batch.id)
                for key in batch.at_most_usd.keys() - self.replies.keys():
                    self._release(key)

    def _reserve(self, key: str, usd: float) -> None:
        self._reserved.setdefault(key, []).append(usd)
        self._charge(key, usd)

    def _release(self, key: str) -> None:
        """Give back the latest reservation; those of attempts that nobody saw the end of stay."""
        if self._reserved.get(key):
            self._charge(key, -self._reserved[key].pop())

    @property
    def total_usd(self) -> float:
        """Summed by question, so that what was reserved and given back leaves no dust."""
        return math.fsum(self._costs.values())

    def _charge(self, key: str, usd: float) -> None:
        self._costs[key] = self._costs.get(key, 0.0) + usd


@contextmanager
def open_log(path: Path) -> Iterator[CallLog]:
    """The log, for one run at a time. Raises TeacherFailed while another run holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8", newline="\n") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TeacherFailed(f"Cannot ask: another run is asking and writes {path} (wait for it)") from None
        file.seek(0)
        text = file.read()
        if text and not text.endswith("\n"):
            file.write("\n")
        yield CallLog(file, [line for line in map(_whole, text.split("\n")) if line])


def _whole(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}
