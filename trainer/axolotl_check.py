"""Owns asking Axolotl's own schema whether it takes settings. Runs inside Axolotl's environment, not ours.

    python -m trainer.axolotl_check < asked.json

Reads [{"gpu": bool, "settings": {...}}, ...]; its last line is a JSON list with what is wrong with each, or "".
"""

import json
import sys
from typing import Any

from axolotl.cli.config import prepare_plugins
from axolotl.utils.config import validate_config
from axolotl.utils.dict import DictDefault
from axolotl.utils.schemas.config import AxolotlInputConfig
from pydantic import ValidationError

CPU = {"bf16": False, "fp8": False, "tf32": False, "n_gpu": 1, "compute_capability": None}
GPU = {"bf16": True, "fp8": False, "tf32": True, "n_gpu": 1, "compute_capability": "sm_86"}
"""A common 16 GB card of the Ampere kind or newer."""


def find_fault(settings: dict[str, Any], capabilities: dict[str, Any]) -> str:
    """Axolotl lets an unknown key pass without a word, so that a misspelt one would be read as left out."""
    if unknown := sorted(settings.keys() - AxolotlInputConfig.model_fields.keys()):
        return f"{unknown[0]}: Axolotl knows no such setting"
    config = DictDefault(settings)
    prepare_plugins(config)
    try:
        validate_config(config, capabilities=capabilities, env_capabilities={"torch_version": "2.13.0"})
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'the settings'}: {first['msg']}"
    except (ValueError, TypeError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    faults = [find_fault(asked["settings"], GPU if asked["gpu"] else CPU) for asked in json.load(sys.stdin)]
    print()
    print(json.dumps(faults))
