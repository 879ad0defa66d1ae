"""Owns how varied texts are: distinct-n and self-similarity. Knows nothing of where the texts come from."""

import re
import statistics
from collections.abc import Sequence

from rouge_score.rouge_scorer import RougeScorer

SAMPLE = 30
"""Texts compared with each other: 435 pairs say enough."""

_WORD = re.compile(r"\w+")


def diversity(texts: Sequence[str]) -> dict[str, float]:
    """distinct_1 and distinct_2 (share of distinct words and word pairs: Li et al. 2016), and self_similarity: the mean
    ROUGE-L of a text with its nearest neighbour among evenly spaced ones (0: nothing in common, 1: the same twice)."""
    sample = texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE]
    return {"texts": len(texts), "distinct_1": distinct(texts, 1), "distinct_2": distinct(texts, 2), "self_similarity": _self_similarity(sample)}


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams over all n-grams; 0 when there are none."""
    seen, total = set(), 0
    for text in texts:
        words = _WORD.findall(text.casefold())
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        seen.update(grams)
        total += len(grams)
    return round(len(seen) / total, 4) if total else 0.0


def _self_similarity(texts: Sequence[str]) -> float:
    if len(texts) < 2:
        return 0.0
    rouge = RougeScorer(["rougeL"], use_stemmer=False)
    nearest = [0.0] * len(texts)
    for i, text in enumerate(texts):
        for j in range(i):
            likeness = rouge.score(text, texts[j])["rougeL"].fmeasure
            nearest[i], nearest[j] = max(nearest[i], likeness), max(nearest[j], likeness)
    return round(statistics.fmean(nearest), 4)
