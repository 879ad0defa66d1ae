"""Owns the verdict on a model: held-out inputs through inference's own code path, against the reference answers.

Knows nothing of training. An answer that is refused (truncated, invalid, rejected) scores 0 in everything.
"""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from inference.errors import BadAnswer
from inference.predict import Predictor
from shared_schemas.example import Example
from shared_schemas.features import FEATURES

BOOTSTRAP = 2000


def evaluate(predictor: Predictor, examples: Sequence[Example], *, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Per feature: n, share accepted (and at the first attempt), mean of each score and of ROUGE-L, each with a 95 % interval, and speed."""
    return {name: _judged(predictor, [example for example in examples if example.feature == name], progress) for name in FEATURES if any(example.feature == name for example in examples)}


def _judged(predictor: Predictor, examples: Sequence[Example], progress: Callable[[str], None]) -> dict[str, Any]:
    from rouge_score.rouge_scorer import RougeScorer  # it takes a second to load

    rouge = RougeScorer(["rougeL"], use_stemmer=False)
    rows: list[dict[str, float]] = []
    refused: dict[str, int] = {}
    times: list[float] = []
    tokens: list[int] = []
    for i, example in enumerate(examples):
        feature = FEATURES[example.feature]
        try:
            prediction = predictor.predict_now(feature, example.prompt_input)
        except BadAnswer as error:
            refused[error.code] = refused.get(error.code, 0) + 1
            rows.append({"accepted": 0.0})
        else:
            said, wanted = ("\n".join(feature.prose(output)) for output in (prediction.output, example.output))
            scores = feature.score(prediction.output, example.output)
            rows.append({"accepted": 1.0, "first_try": float(prediction.details["attempts"] == 1), **scores, "rouge_l": rouge.score(wanted, said)["rougeL"].fmeasure})
            times.append(prediction.timings.prefill_ms + prediction.timings.decode_ms)
            tokens.append(prediction.usage.output_tokens)
        progress(f"evaluate {example.feature}: {i + 1} of {len(examples)}, accepted {sum(row['accepted'] for row in rows):.0f}")
    metrics = ["accepted", "first_try", *FEATURES[examples[0].feature].score(examples[0].output, examples[0].output), "rouge_l"]
    return {
        "n": len(rows),
        **{metric: _with_interval([row.get(metric, 0.0) for row in rows]) for metric in metrics},
        "refused": refused,
        "p50_ms": round(statistics.median(times), 1) if times else None,
        "mean_output_tokens": round(statistics.mean(tokens), 1) if tokens else None,
    }


def _with_interval(values: Sequence[float]) -> dict[str, float]:
    low, high = wilson(int(sum(values)), len(values)) if set(values) <= {0.0, 1.0} else bootstrap(values)
    return {"mean": round(statistics.mean(values), 4), "low": round(low, 4), "high": round(high, 4)}


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, score interval)."""
    share, spread = hits / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of a mean, from 2,000 resamples."""
    rng = random.Random(seed)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(BOOTSTRAP))
    return means[int(0.025 * BOOTSTRAP)], means[int(0.975 * BOOTSTRAP) - 1]
