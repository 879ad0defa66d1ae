"""Owns what a starting service answers with: the models that were put to work last, or that of the settings.

Knows nothing of HTTP, nor of how a model is loaded.
"""

import logging
from functools import partial
from pathlib import Path

from inference.errors import CannotServe, StartError, UnknownModel
from inference.live_list import read_live, write_live
from inference.loader import START, Loader
from inference.models import Live, Models
from inference.settings import Settings
from shared_schemas.features import FEATURES

log = logging.getLogger("inference.models")


def come_back(settings: Settings, loader: Loader) -> Models:
    """Live models as before the restart. What cannot be loaded again is said in the log, and the settings' model answers instead.

    Raises StartError when that one is needed and cannot be loaded either.
    """
    folder = settings.model_folder
    if folder is None:
        return Models(loader.load(START), loader, longest_s=settings.deadline_s)
    wanted = _wanted(folder)
    loaded = {name: live for name in dict.fromkeys(wanted.values()) if (live := _again(loader, name))}
    back = {feature: loaded[name] for feature, name in wanted.items() if name in loaded}
    first = back[next(iter(FEATURES))] if set(back) == set(FEATURES) else Live(loader.load(START), START)
    return Models(first, loader, longest_s=settings.deadline_s, others=back, keep=partial(write_live, folder))


def _again(loader: Loader, name: str) -> Live | None:
    try:
        return Live(loader.load(name), name)
    except (StartError, UnknownModel, CannotServe) as error:
        log.error("Cannot come back with %s: %s: the model of the settings answers", name, error)
        return None


def _wanted(folder: Path) -> dict[str, str]:
    try:
        return {feature: name for feature, name in read_live(folder).items() if name != START}
    except StartError as error:
        log.error("%s: the model of the settings answers", error)
        return {}
