"""Owns asking a teacher: many questions at a time through the `openai` client, one by one or as a batch.

Knows nothing of what the questions are about. What a call may cost is in the log before it leaves, and whatever was
answered is in the log before anything else happens; a question that the log has answered is never asked again.
"""

import asyncio
import io
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import httpx2
import openai
from pydantic import BaseModel, NonNegativeInt, ValidationError

from trainer.data.spending import Batch, CallLog, Question, Reply, at_most_usd
from trainer.data.teacher import Teacher
from trainer.errors import OverBudget, TeacherFailed
from trainer.stage import digest

Progress = Callable[[str], None]
TIMEOUT_S = 120
RETRIES = 6
LONGEST_WAIT_S = 60.0
POLL_S = 30
CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
MAY_BE_PAID = {408, 504, 524}
"""Statuses of a call that was given up on while the model may have gone on; any other says that there is nothing to pay."""
UNSUPPORTED = {"minLength", "maxLength", "title", "description", "default", "uniqueItems"}
"""Keywords that structured outputs do not take (the edge leaves out the same); our own validation holds the answer to them."""


class Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    message: Message
    finish_reason: str | None = None


class Usage(BaseModel):
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt


class Completion(BaseModel):
    """What we need of an answer; endpoints that are compatible only in part leave out the rest."""

    model: str | None = None
    choices: list[Choice] = []
    usage: Usage | None = None


def strict_schema(schema: Any) -> Any:
    """A JSON schema as structured outputs take it."""
    if isinstance(schema, list):
        return [strict_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    names = {"properties", "$defs"}
    return {
        key: {name: strict_schema(one) for name, one in value.items()} if key in names else strict_schema(value)
        for key, value in schema.items()
        if key not in UNSUPPORTED
    }  # fmt: skip


def ask_all(teacher: Teacher, questions: Sequence[Question], log: CallLog, *, budget_usd: float, concurrency: int, progress: Progress = lambda _: None) -> float:
    """Ask what the log has not answered; then it has answered all. Returns what the questions have cost, in US dollars, earlier runs included.

    Raises OverBudget when the next call could go over the budget, TeacherFailed when the teacher cannot be reached or
    refuses to work: what was answered until then is kept, and the next run goes on from there.
    """
    keys = {question.key for question in questions}
    if log.unanswered(questions):
        try:
            asyncio.run(_ask(teacher, questions, log, budget_usd, concurrency, progress))
        except openai.APIStatusError as error:
            raise TeacherFailed(f"Cannot ask {teacher.name}: it answered {error.status_code} ({_hint(error.status_code)})") from None
        except openai.APIError as error:
            raise TeacherFailed(f"Cannot ask {teacher.name} at {teacher.endpoint}: {type(error).__name__} (is it running, and the address right?)") from None
    return log.spent_usd(keys)


async def _ask(teacher: Teacher, questions: Sequence[Question], log: CallLog, budget_usd: float, concurrency: int, progress: Progress) -> None:
    """First of all come the answers of batches that a killed run has left: they are paid."""
    async with openai.AsyncOpenAI(base_url=teacher.endpoint, api_key=teacher.key.get_secret_value(), timeout=TIMEOUT_S, max_retries=RETRIES) as client:
        for batch in log.open_batches(questions):
            await _drain(client, teacher, log, batch, progress)
        if teacher.batch_price_factor is None:
            await Calls(client, teacher, questions, log, budget_usd, progress).ask(concurrency)
        else:
            await _in_batches(client, teacher, questions, log, budget_usd, progress)


# --- one by one ----------------------------------------------------------------------------------------------------


class Calls:
    """Questions under way, some at a time. When one must stop, the others end the call that they are in: it is paid."""

    def __init__(self, client: openai.AsyncOpenAI, teacher: Teacher, questions: Sequence[Question], log: CallLog, budget_usd: float, progress: Progress) -> None:
        self._client = client.with_options(max_retries=0)
        self._teacher, self._log, self._budget_usd, self._progress = teacher, log, budget_usd, progress
        self._keys = {question.key for question in questions}
        self._waiting = iter(log.unanswered(questions))
        self._spent_on_others = log.total_usd - log.spent_usd(self._keys)
        self._stopped = False

    async def ask(self, concurrency: int) -> None:
        for outcome in await asyncio.gather(*(self._work() for _ in range(concurrency)), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _work(self) -> None:
        try:
            while not self._stopped and (question := next(self._waiting, None)):
                await self._answer(question)
                self._progress(f"{self._teacher.name}: {self._done} of {len(self._keys)} answered, ${self._spent_usd:.4f}")
        except BaseException:
            self._stopped = True
            raise

    async def _answer(self, question: Question) -> None:
        """Ask until there is an answer. Each attempt is reserved for by itself, and stays so if nobody knows whether it will be billed."""
        attempt = 0
        while True:
            reserved = self._reserve(question)
            began, wait_s = time.monotonic(), 0.0
            try:
                raw = await self._client.chat.completions.with_raw_response.create(**question.body, extra_headers={"Idempotency-Key": question.key})
            except openai.APIStatusError as error:
                if error.status_code not in MAY_BE_PAID:
                    self._log.turned_away(question.key)
                if self._stopped or attempt == RETRIES or not (error.status_code in {408, 409, 429} or error.status_code >= 500):
                    raise
                wait_s = _wait_s(error.response.headers, attempt)
            except openai.APIConnectionError as error:
                if isinstance(error.__cause__, NEVER_SENT):
                    self._log.turned_away(question.key)
                if self._stopped or attempt == RETRIES:
                    raise
                wait_s = _wait_s({}, attempt)
            else:
                self._log.answered(_reply(self._teacher, question.key, raw.content, dearest_usd=reserved, latency_ms=round(1000 * (time.monotonic() - began))))
                return
            await asyncio.sleep(wait_s)
            attempt += 1

    def _reserve(self, question: Question) -> float:
        dearest = at_most_usd(self._teacher, question)
        if self._spent_usd + dearest > self._budget_usd:
            raise OverBudget(
                f"Cannot go on: {self._done} of {len(self._keys)} calls have cost ${self._spent_usd:.4f}, and the next could go over ${self._budget_usd:.4f} (raise --budget-usd: nothing is asked twice)"
            )
        self._log.asked(question.key, dearest)
        return dearest

    @property
    def _spent_usd(self) -> float:
        return self._log.total_usd - self._spent_on_others

    @property
    def _done(self) -> int:
        return sum(key in self._log.replies for key in self._keys)


def _wait_s(headers: Mapping[str, str], attempt: int) -> float:
    """As long as the server says, else twice as long each time."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        if headers.get(name, "").isdigit():
            return min(int(headers[name]) / unit, LONGEST_WAIT_S)
    return float(min(0.5 * 2**attempt, 8) * random.uniform(0.75, 1))


def _reply(teacher: Teacher, key: str, raw: str | bytes, *, dearest_usd: float, latency_ms: int) -> Reply:
    """Whatever came back with status 200, as it goes into the log: it is paid. What does not say its tokens counts at the highest price."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    fault: str | None = None
    try:
        answer = Completion.model_validate_json(raw)
    except ValidationError:
        said = (raw if isinstance(raw, str) else raw.decode("utf-8", "replace"))[:2000]
        return Reply(key=key, said=said, fault="odd answer", model=teacher.model, input_tokens=0, output_tokens=0, usd=dearest_usd, latency_ms=latency_ms, at=at)
    choice = answer.choices[0] if answer.choices else None
    if choice is None or choice.message.refusal or choice.finish_reason == "content_filter":
        fault = "refusal"
    elif choice.finish_reason == "length":
        fault = "cut off"
    tokens = (answer.usage.prompt_tokens, answer.usage.completion_tokens) if answer.usage else (0, 0)
    return Reply(
        key=key,
        said=(choice.message.content or "") if choice else "",
        fault=fault,
        model=answer.model or teacher.model,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        usd=teacher.usd(*tokens) if answer.usage else dearest_usd,
        latency_ms=latency_ms,
        at=at,
    )


# --- as batches ----------------------------------------------------------------------------------------------------


async def _in_batches(client: openai.AsyncOpenAI, teacher: Teacher, questions: Sequence[Question], log: CallLog, budget_usd: float, progress: Progress) -> None:
    """All of it as one job of the Batch API, and what that leaves unanswered as another."""
    while missing := log.unanswered(questions):
        prices = {question.key: at_most_usd(teacher, question) for question in missing}
        spent = log.spent_usd({question.key for question in questions})
        if spent + sum(prices.values()) > budget_usd:
            most = spent + sum(prices.values())
            raise OverBudget(f"Cannot begin: a batch of {len(missing)} calls may cost ${most:.4f}, and the budget is ${budget_usd:.4f} (raise --budget-usd or ask for less)")
        batch = log.begin_batch(digest(list(prices)), prices)
        if await _find(client, log, batch) is None:
            log.name_batch(batch, await _create(client, batch, missing))
        status = await _drain(client, teacher, log, batch, progress)
        if len(log.unanswered(missing)) == len(missing):
            raise TeacherFailed(f"Cannot use the batch {batch.id} of {teacher.name}: it is {status} without an answer")


async def _drain(client: openai.AsyncOpenAI, teacher: Teacher, log: CallLog, batch: Batch, progress: Progress) -> str:
    """Wait for a batch and log its answers. Returns its last status. One that a kill kept from being created is closed."""
    batch_id = batch.id or await _find(client, log, batch)
    if batch_id is None:
        log.end_batch(batch)
        return "not there"
    job = await client.batches.retrieve(batch_id)
    while job.status not in {"completed", "failed", "expired", "cancelled"}:
        progress(f"{teacher.name}: batch {batch_id} is {job.status}")
        await asyncio.sleep(POLL_S)
        job = await client.batches.retrieve(batch_id)
    if job.output_file_id:
        for line in (await client.files.content(job.output_file_id)).text.split("\n"):
            result: dict[str, Any] = json.loads(line) if line else {}
            key, response = str(result.get("custom_id")), result.get("response") or {}
            if key in batch.at_most_usd and key not in log.replies and response.get("status_code") == 200:
                log.answered(_reply(teacher, key, json.dumps(response.get("body")), dearest_usd=batch.at_most_usd[key], latency_ms=0))
    log.end_batch(batch)
    progress(f"{teacher.name}: batch {batch_id} is {job.status}, {sum(key not in log.replies for key in batch.at_most_usd)} of {len(batch.at_most_usd)} unanswered")
    return job.status


async def _find(client: openai.AsyncOpenAI, log: CallLog, batch: Batch) -> str | None:
    """The job of these questions, by its own note: a run may be killed after creating it and before writing down its name."""
    async for job in client.batches.list(limit=100):
        if (job.metadata or {}).get("questions") == batch.note and job.id not in log.ended_batches and (job.output_file_id or job.status not in {"failed", "expired", "cancelled"}):
            log.name_batch(batch, job.id)
            return job.id
    return None


async def _create(client: openai.AsyncOpenAI, batch: Batch, questions: Sequence[Question]) -> str:
    """Not tried twice: the first try may have created it all the same, and the next run finds it."""
    lines = [json.dumps({"custom_id": question.key, "method": "POST", "url": CHAT, "body": question.body}) for question in questions]
    file = await client.files.create(file=("questions.jsonl", io.BytesIO("\n".join(lines).encode())), purpose="batch")
    once = client.with_options(max_retries=0)
    return (await once.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"questions": batch.note})).id


def _hint(status: int) -> str:
    match status:
        case 401 | 403:
            return "check its key"
        case 404:
            return "check the endpoint and the model's name"
        case 429:
            return "too many calls, or nothing left to spend there: wait, or lower --concurrency"
        case _ if status < 500:
            return "it does not understand the question: does it offer structured outputs?"
        case _:
            return "it is in trouble: try later"
