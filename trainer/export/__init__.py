"""Owns the way from trained weights to files that are served, and the proof that these say what was trained.

`build.py` is the way, `parity.py` the proof, `choose.py` the choice among quantisations.
"""

from trainer.export.adapter import check_tokens, export_adapter, first_difference
from trainer.export.metadata import PATH_KEYS

__all__ = ["PATH_KEYS", "check_tokens", "export_adapter", "first_difference"]
