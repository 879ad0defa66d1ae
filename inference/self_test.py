"""Owns what a model must show before it takes traffic: an accepted answer to each feature's golden request. Loads nothing."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from inference.answers import Answers
from inference.errors import BadAnswer, CannotServe, FailedSelfTest, InferenceError
from shared_schemas.features import FEATURES


async def self_test(answers: Answers, features: Iterable[str], *, deadline_s: float) -> None:
    """Raises CannotServe, with the feature and why, unless each of these is answered acceptably within `deadline_s`; FailedSelfTest where the answer is why."""
    await asyncio.gather(*(_answer_golden(answers, name, deadline_s) for name in features))


def self_test_now(answers: Answers, features: Iterable[str], *, deadline_s: float) -> None:
    """`self_test` for a caller that blocks, whether or not it has an event loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(self_test(answers, features, deadline_s=deadline_s))).result()


async def _answer_golden(answers: Answers, name: str, deadline_s: float) -> None:
    feature = FEATURES[name]
    try:
        await answers.predict(feature, feature.golden, deadline_s=deadline_s)
    except InferenceError as error:
        kind = FailedSelfTest if isinstance(error, BadAnswer) else CannotServe
        raise kind(f"Cannot put {answers.version.name!r} to work: its self-test of {name!r} failed: {error}") from None
