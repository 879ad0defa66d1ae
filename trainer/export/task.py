"""Owns a short task score of a model file: held-out inputs through inference's own code path. Knows nothing of other files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from inference.errors import BadAnswer
from inference.model_store import ModelFiles, file_sha256
from inference.predict import Predictor
from shared_schemas.feature import PromptStyle
from shared_schemas.features import FEATURES
from shared_schemas.model_version import ModelVersion
from trainer.format import Pair

_CONTEXT_TOKENS = 6144


def task_scores(path: Path, examples: Sequence[Pair], style: PromptStyle, *, progress: Callable[[str], None] = lambda _: None) -> Mapping[str, Sequence[float]]:
    """By metric one figure from 0 to 1 per example: whether the answer was accepted, and the mean of its feature's scores (0 when refused)."""
    sha256 = file_sha256(path)
    predictor = Predictor(ModelFiles(path, None, ModelVersion(name=path.parent.name, base_sha256=sha256, prompt_style=style), sha256), n_ctx=_CONTEXT_TOKENS, n_threads=2)
    accepted, scores = [], []
    try:
        for i, example in enumerate(examples):
            feature = FEATURES[example.feature]
            try:
                output = predictor.predict_now(feature, example.prompt_input).output
            except BadAnswer:
                accepted.append(0.0)
                scores.append(0.0)
            else:
                accepted.append(1.0)
                scores.append(fmean(feature.score(output, example.output).values()))
            progress(f"judge {path.parent.name}: {i + 1} of {len(examples)}")
    finally:
        predictor.close()
    return {"accepted": accepted, "score": scores}
