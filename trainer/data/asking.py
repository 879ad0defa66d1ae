"""Owns asking a teacher: many questions at a time through the `openai` client, one by one or as a batch.

Knows nothing of what the questions are about. Every answer is in the log before anything else happens, and a question
that the log has answered is never asked again.
"""

import asyncio
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import openai
from openai.types.chat import ChatCompletion

from trainer.data.spending import CallLog, Question, Reply, at_most_usd
from trainer.data.teacher import Teacher
from trainer.errors import OverBudget, TeacherFailed
from trainer.stage import digest

Progress = Callable[[str], None]
TIMEOUT_S = 120
RETRIES = 6
"""The client waits twice as long after each 408, 409, 429 or 5xx, or as long as the server says."""
POLL_S = 30
CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
UNSUPPORTED = {"minLength", "maxLength", "title", "description", "default", "uniqueItems"}
"""Keywords that structured outputs do not take (the edge leaves out the same); our own validation holds the answer to them."""


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


def ask_all(teacher: Teacher, questions: Sequence[Question], log: CallLog, *, budget_usd: float, concurrency: int, progress: Progress = lambda _: None) -> None:
    """Ask what the log has not answered; the answers are in the log.

    Raises OverBudget when the next call could go over the budget, TeacherFailed when the teacher cannot be reached or
    refuses to work: what was answered until then is kept, and the next run goes on from there.
    """
    missing = [question for question in questions if question.key not in log.replies]
    if missing:
        asyncio.run((_in_batch if teacher.has_batches else _one_by_one)(teacher, questions, log, budget_usd, concurrency, progress))


def _client(teacher: Teacher) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=teacher.endpoint, api_key=teacher.key.get_secret_value(), timeout=TIMEOUT_S, max_retries=RETRIES)


async def _one_by_one(teacher: Teacher, questions: Sequence[Question], log: CallLog, budget_usd: float, concurrency: int, progress: Progress) -> None:
    waiting = iter([question for question in questions if question.key not in log.replies])
    keys = [question.key for question in questions]
    spent, done = log.spent_usd(keys), sum(key in log.replies for key in keys)
    stopped = False

    async def work(client: openai.AsyncOpenAI) -> None:
        nonlocal spent, done, stopped
        for question in waiting:
            dearest = at_most_usd(teacher, question)
            if spent + dearest > budget_usd:
                stopped = True
                raise OverBudget(f"Cannot go on: {done} of {len(keys)} calls have cost ${spent:.4f}, and the next could go over ${budget_usd:.4f} (raise --budget-usd: nothing is asked twice)")
            spent += dearest
            log.asked(question.key, dearest)
            try:
                reply = await _ask(client, teacher, question)
            except openai.APIStatusError as error:
                stopped = True
                log.turned_away(question.key)
                raise TeacherFailed(f"Cannot ask {teacher.name}: it answered {error.status_code} ({_hint(error.status_code)})") from None
            except openai.APIError as error:
                stopped = True
                raise TeacherFailed(f"Cannot ask {teacher.name} at {teacher.endpoint}: {type(error).__name__} (is it running, and the address right?)") from None
            log.answered(reply)
            spent, done = spent + reply.usd - dearest, done + 1
            progress(f"{teacher.name}: {done} of {len(keys)} answered, ${spent:.4f}")
            if stopped:
                return

    async with _client(teacher) as client:
        outcomes = await asyncio.gather(*(work(client) for _ in range(concurrency)), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _ask(client: openai.AsyncOpenAI, teacher: Teacher, question: Question) -> Reply:
    """One call. Its key goes along, so that an endpoint that honours it bills a repeated call once."""
    began = time.monotonic()
    answer = await client.chat.completions.create(**question.body, extra_headers={"Idempotency-Key": question.key})
    return _reply(teacher, question.key, answer, latency_ms=round(1000 * (time.monotonic() - began)))


def _reply(teacher: Teacher, key: str, answer: ChatCompletion, *, latency_ms: int) -> Reply:
    choice = answer.choices[0] if answer.choices else None
    said = (choice.message.content or "") if choice else ""
    fault = None
    if choice is None or choice.message.refusal or choice.finish_reason == "content_filter":
        fault = "refusal"
    elif choice.finish_reason == "length":
        fault = "cut off"
    tokens = (answer.usage.prompt_tokens, answer.usage.completion_tokens) if answer.usage else (0, 0)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Reply(key=key, said=said, fault=fault, model=answer.model, input_tokens=tokens[0], output_tokens=tokens[1], usd=teacher.usd(*tokens), latency_ms=latency_ms, at=at)


async def _in_batch(teacher: Teacher, questions: Sequence[Question], log: CallLog, budget_usd: float, _concurrency: int, progress: Progress) -> None:
    """All of it as one job of the Batch API. A killed run finds its job again, by the log or by the job's own note."""
    missing = [question for question in questions if question.key not in log.replies]
    dearest = sum(at_most_usd(teacher, question) for question in missing)
    spent = log.spent_usd(question.key for question in questions if question.key in log.replies)
    if spent + dearest > budget_usd:
        raise OverBudget(f"Cannot begin: a batch of {len(missing)} calls may cost ${spent + dearest:.4f}, and the budget is ${budget_usd:.4f} (raise --budget-usd or ask for less)")
    note = digest([question.key for question in missing])
    try:
        async with _client(teacher) as client:
            batch_id = log.batches.get(note) or await _find_batch(client, note) or await _new_batch(client, note, missing)
            log.batch(note, batch_id)
            batch = await client.batches.retrieve(batch_id)
            while batch.status not in {"completed", "failed", "expired", "cancelled"}:
                progress(f"{teacher.name}: batch {batch_id} is {batch.status}")
                await asyncio.sleep(POLL_S)
                batch = await client.batches.retrieve(batch_id)
            if batch.output_file_id:
                for reply in _replies(teacher, (await client.files.content(batch.output_file_id)).text):
                    if reply.key not in log.replies:
                        log.answered(reply)
    except openai.APIStatusError as error:
        raise TeacherFailed(f"Cannot ask {teacher.name}: it answered {error.status_code} ({_hint(error.status_code)})") from None
    except openai.APIError as error:
        raise TeacherFailed(f"Cannot ask {teacher.name} at {teacher.endpoint}: {type(error).__name__} (is it running, and the address right?)") from None
    unanswered = sum(question.key not in log.replies for question in missing)
    if unanswered == len(missing):
        log.batch(note, "")
        raise TeacherFailed(f"Cannot use the batch {batch_id} of {teacher.name}: it is {batch.status} without an answer")
    progress(f"{teacher.name}: batch {batch_id} is {batch.status}, {unanswered} of {len(missing)} unanswered")


async def _find_batch(client: openai.AsyncOpenAI, note: str) -> str | None:
    async for batch in client.batches.list(limit=100):
        if (batch.metadata or {}).get("questions") == note and batch.status not in {"failed", "expired", "cancelled"}:
            return batch.id
    return None


async def _new_batch(client: openai.AsyncOpenAI, note: str, questions: Sequence[Question]) -> str:
    lines = [json.dumps({"custom_id": question.key, "method": "POST", "url": CHAT, "body": question.body}, ensure_ascii=False) for question in questions]
    file = await client.files.create(file=("questions.jsonl", io.BytesIO("\n".join(lines).encode())), purpose="batch")
    batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"questions": note})
    return batch.id


def _replies(teacher: Teacher, text: str) -> Iterator[Reply]:
    for line in filter(None, text.split("\n")):
        result = json.loads(line)
        if (result.get("response") or {}).get("status_code") == 200:
            yield _reply(teacher, result["custom_id"], ChatCompletion.model_validate(result["response"]["body"]), latency_ms=0)


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
