"""Owns what a starting service answers with: the models that were put to work last, or that of the settings.

Knows nothing of HTTP, nor of how a model is loaded.
"""

import logging
from collections.abc import Collection
from functools import partial
from pathlib import Path

from inference.errors import CannotServe, StartError, UnknownModel
from inference.live_list import read_live, write_live
from inference.loader import START, Loader
from inference.models import Live, Models
from inference.predict import Predictor
from inference.self_test import self_test_now
from inference.settings import Settings
from shared_schemas.features import FEATURES

_LONGEST_TEST_S = 120
"""For a machine that is busy while it starts."""

log = logging.getLogger("inference.models")


def come_back(settings: Settings, loader: Loader) -> Models:
    """Live models as before the restart, each tested by what it shall answer. What cannot be loaded again, or fails, is said in
    the log, and the settings' model answers instead.

    Raises StartError when that one is needed and cannot be loaded either, or was tuned for our features and fails.
    """
    folder = settings.model_folder
    wanted = _wanted(folder) if folder else {}
    loaded = {name: live for name in dict.fromkeys(wanted.values()) if (live := _again(loader, name, [feature for feature in wanted if wanted[feature] == name]))}
    back = {feature: loaded[name] for feature, name in wanted.items() if name in loaded}
    first = back[next(iter(FEATURES))] if set(back) == set(FEATURES) else _started(loader, [feature for feature in FEATURES if feature not in back])
    if folder is None:
        return Models(first, loader, longest_s=settings.deadline_s)
    return Models(first, loader, longest_s=settings.deadline_s, others=back, keep=partial(write_live, folder))


def _started(loader: Loader, features: Collection[str]) -> Live:
    """The settings' model. One at another server is not asked now: it may come later. One that is told by instructions was never
    tuned for our features; every answer of it is checked all the same."""
    answers = loader.load(START)
    if not isinstance(answers, Predictor):
        return Live(answers, START)
    try:
        self_test_now(answers, features, deadline_s=_LONGEST_TEST_S)
    except CannotServe as error:
        if answers.version.prompt_style == "instructions":
            log.warning("%s", error)
        else:
            answers.close()
            raise StartError(str(error)) from None
    return Live(answers, START)


def _again(loader: Loader, name: str, features: Collection[str]) -> Live | None:
    try:
        answers = loader.load(name)
        try:
            self_test_now(answers, features, deadline_s=_LONGEST_TEST_S)
        except CannotServe:
            if isinstance(answers, Predictor):
                answers.close()
            raise
        return Live(answers, name)
    except (StartError, UnknownModel, CannotServe) as error:
        log.error("Cannot come back with %s: %s: the model of the settings answers", name, error)
        return None


def _wanted(folder: Path) -> dict[str, str]:
    try:
        return {feature: name for feature, name in read_live(folder).items() if name != START}
    except StartError as error:
        log.error("%s: the model of the settings answers", error)
        return {}
