"""Guesses come from what the model was taught and what it said lately; what is remembered of the latter stays small."""

import random

from inference.engine.phrases import Phrases, PromptWords, begin

NO_WORDS = PromptWords([])


def test_what_was_taught_is_guessed_however_much_is_heard_after_it() -> None:
    phrases, chance = Phrases(recent=500), random.Random(1)
    phrases.teach("risk", [1, 2, 3, 4])
    for _ in range(200):
        phrases.hear("risk", [chance.randrange(100, 10_000) for _ in range(40)])
    guess = phrases.guess([*begin("risk"), 1, 2], NO_WORDS)
    assert guess is not None
    assert guess[0] == 3


def test_what_was_heard_is_guessed_until_enough_came_after_it() -> None:
    phrases, chance = Phrases(recent=500), random.Random(2)
    phrases.hear("plan", [7, 8, 9])
    guess = phrases.guess([*begin("plan"), 7], NO_WORDS)
    assert guess is not None
    assert guess[0] == 8
    for _ in range(10):
        phrases.hear("plan", [chance.randrange(100, 10_000) for _ in range(40)])
    assert phrases.guess([*begin("plan"), 7, 8], NO_WORDS) is None


def test_what_is_heard_takes_no_more_room_than_agreed() -> None:
    phrases, chance = Phrases(recent=500), random.Random(3)
    most = 0
    for _ in range(300):
        phrases.hear("plan", [chance.randrange(10_000) for _ in range(20)])
        most = max(most, len(phrases))
    longest_answer = 8 * 20
    assert 500 < most < 2 * (500 + longest_answer)
