"""The engine's shortcuts change nothing, batches nothing but near ties, and the comparison that says so would see it if they did."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from inference.bench_inputs import inputs
from inference.canonical import canonical
from inference.engine.completion import Completion, Job
from inference.model_store import find_model
from inference.parting import Replay, replay
from inference.predict import Predictor
from inference.same import compare, same
from inference.settings import Settings
from shared_schemas.features.risk import RISK


@pytest.fixture(scope="module")
def plain(predictor: Predictor) -> Iterator[Predictor]:
    plain = Predictor(replace(find_model(Settings()), phrases=None), n_ctx=2048, n_threads=1, parallel=1, waiting=1, beside=predictor, is_plain=True)
    yield plain
    plain.close()


@pytest.fixture(scope="module")
def again(predictor: Predictor) -> Iterator[Replay]:
    with replay(predictor.llama.weights, None, n_cells=1024, n_threads=1) as again:
        yield again


def job(predictor: Predictor, number: int = 0) -> Job:
    return Job(predictor.prompt_tokens(RISK, inputs("risk", number, 1)[0]), predictor.grammar("risk"), RISK.max_tokens)


async def test_plain_decoding_takes_a_step_for_each_token_and_forces_none(predictor: Predictor, plain: Predictor) -> None:
    done, fast = await plain.complete(job(plain)), await predictor.complete(job(predictor))
    assert (done.forced_tokens, done.guessed_tokens) == (0, 0)
    assert done.steps == len(done.tokens) == len(done.log_probabilities)
    assert fast.steps < done.steps / 2
    RISK.read_answer(done.text, plain.version.prompt_style)


async def test_an_answer_made_alone_is_to_the_byte_the_one_that_plain_decoding_gives(predictor: Predictor, plain: Predictor, again: Replay) -> None:
    """Made together, answers may fall otherwise where two tokens are near, and it is shown that they are."""
    found = await compare(predictor, plain, again, ["risk"], 6, at_once=6)
    assert (found.forced.same, found.forced.count, found.batched.count) == (6, 6, 6)
    assert [parting.why for parting in found.batched.partings if not parting.is_explained] == []
    assert found.canonical.runs > 8
    assert (found.canonical.answers, found.canonical.broken) == (12, 0)


async def test_a_difference_that_is_no_tie_is_not_explained_away(predictor: Predictor, again: Replay) -> None:
    """One of the two took the worst token at some place: no rounding does that."""
    wanted = job(predictor)
    done = await predictor.complete(wanted)
    place = 3
    worst = int(np.argmin([len(piece) for piece in predictor.llama.vocabulary.pieces]))
    harmed = Completion(text=done.text[:5] + "?", tokens=[*done.tokens[:place], worst])
    parting = again.explain("risk 0", list(wanted.prompt), done, harmed)
    assert not parting.is_explained
    assert (parting.token, parting.byte) == (place, 5)
    assert parting.gap > parting.moved > 0
    assert parting.why.endswith("NOT a tie")


def test_a_forced_run_that_is_not_canonical_is_seen_and_the_models_own_choice_is_not_blamed(predictor: Predictor) -> None:
    llama, text = predictor.llama, '{"risk_level":"medium"}'
    whole = llama.tokenize(text, special=False)
    split = [token for letter in text for token in llama.tokenize(letter, special=False)]
    assert split != whole
    assert canonical(llama, Completion(text=text, tokens=whole)).broken == 0
    assert canonical(llama, Completion(text=text, tokens=split)).broken == 1
    chosen = canonical(llama, Completion(text=text, tokens=split, chosen_at=list(range(len(text)))))
    assert (chosen.runs, chosen.broken, chosen.whole) == (0, 0, 0)


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--count", "801"], ["--at-once", "1"], ["--feature", "leave"]])
def test_wrong_arguments_are_told(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        same(arguments)
    assert ended.value.code == 2
