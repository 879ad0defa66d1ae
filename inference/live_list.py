"""Owns what a restart comes back with: which folder answers which feature, in `live.json` of MODEL_FOLDER, written in one step.

Knows nothing of models.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from inference.errors import CannotServe, StartError
from shared_schemas.features import FEATURES

LIVE = "live.json"

_FOLDERS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


def read_live(folder: Path) -> dict[str, str]:
    """By feature, the folder that answered it last; none when nothing was ever put to work. Raises StartError when it cannot be understood."""
    path = folder / LIVE
    try:
        found = _FOLDERS.validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise StartError(f"Cannot read {path}: {error.strerror if isinstance(error, OSError) else 'it is no list of features and folders'}") from None
    return {feature: name for feature, name in found.items() if feature in FEATURES}


def write_live(folder: Path, answering: Mapping[str, str]) -> None:
    """Raises CannotServe, with the old list still there."""
    path = folder / LIVE
    partial = path.with_suffix(".part")
    try:
        with partial.open("w") as file:
            json.dump(dict(answering), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise CannotServe(f"Cannot write {path}: {error.strerror} (a restart would not come back with this model)") from None
