"""Owns what Prometheus is shown: requests as they are answered, and what the engines counted, read when it asks.

Every label has few values, all of them known in advance: no text of a caller or of a model is ever one. The engine knows
nothing of this: it adds to plain sums (`engine/counts.py`), and a scrape turns them into metrics.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from inference.answers import Answers
from inference.engine.counts import Spread
from inference.predict import Predictor

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One service's metrics, in a registry of their own. `models` gives those that are loaded when it is called."""

    def __init__(self, models: Callable[[], Iterable[Answers]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("slm_requests", "Requests answered", ["feature", "status", "code"], registry=self._registry)
        self._seconds = Histogram("slm_request_seconds", "Time of a request, from its head to the last byte of its answer", ["feature"], buckets=_REQUEST_S, registry=self._registry)
        self._registry.register(_Models(models))
        ProcessCollector(registry=self._registry)

    def answered(self, *, feature: str, status: int, code: str, took_s: float) -> None:
        self._requests.labels(feature, str(status), code).inc()
        self._seconds.labels(feature).observe(took_s)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


_REQUEST_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60, 120)


class _Models(Collector):
    """What all models have, and of those in this process what their engines counted."""

    def __init__(self, models: Callable[[], Iterable[Answers]]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        models = list(self._models())
        predictors = [one for one in models if isinstance(one, Predictor)]
        yield _info(models)
        yield _rejections(models)
        yield from _gauges(predictors)
        yield from _counters(predictors)
        yield _spreads("slm_step_tokens", "Tokens that a step fed for all live answers together", predictors, lambda one: {"": one.engine.counts.step_tokens})
        yield _spreads("slm_step_seconds", "Time of a step inside the engine's library", predictors, lambda one: {"": one.engine.counts.step_s})
        yield _spreads("slm_mask_seconds", "Time to compute which tokens the schema allows next", predictors, lambda one: {"": one.engine.counts.mask_s})
        yield _spreads("slm_stage_seconds", "Time of an answer by stage; mask is a part of decode", predictors, _stages, label="stage")


def _stages(one: Predictor) -> dict[str, Spread]:
    counts = one.engine.counts
    return {"queue": counts.queue_s, "prefill": counts.prefill_s, "decode": counts.decode_s, "mask": counts.masks_s, "check": one.verdicts.check_s}


def _info(models: list[Answers]) -> Metric:
    info = InfoMetricFamily("slm_model", "Models that are loaded", labels=["model"])
    for one in models:
        version = one.version
        info.add_metric([version.name], {"base_sha256": version.base_sha256 or "", "adapter_sha256": version.adapter_sha256 or "", "prompt_style": version.prompt_style})
    return info


def _gauges(predictors: list[Predictor]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("slm_queue_length", "Answers that wait for their turn", labels=["model"])
    live = GaugeMetricFamily("slm_live_answers", "Answers in the making", labels=["model"])
    cells = GaugeMetricFamily("slm_cells", "Tokens that fit the model's memory, by what they are set aside for", labels=["model", "use"])
    for one in predictors:
        waiting.add_metric([one.version.name], one.engine.waiting)
        live.add_metric([one.version.name], one.engine.live)
        for use, n in one.engine.cells.items():
            cells.add_metric([one.version.name, use], n)
    yield from (waiting, live, cells)


def _counters(predictors: list[Predictor]) -> Iterator[Metric]:
    """Labels split each total into parts that do not overlap: their sum is all of it."""
    prompt = CounterMetricFamily("slm_prompt_tokens", "Prompt tokens: cached ones were in memory already", labels=["model", "source"])
    answer = CounterMetricFamily("slm_answer_tokens", "Answer tokens: forced ones needed no choice, guessed ones no step of their own", labels=["model", "kind"])
    kept = CounterMetricFamily("slm_answer_cache", "Answers looked for among those kept: a hit asked nothing of the engine and is in no other figure of it", labels=["model", "result"])
    answers = CounterMetricFamily("slm_answers", "Answers by how they ended", labels=["model", "end"])
    for one in predictors:
        name, counts = one.version.name, one.engine.counts
        prompt.add_metric([name, "computed"], counts.prompt_tokens - counts.cached_tokens)
        prompt.add_metric([name, "cached"], counts.cached_tokens)
        answer.add_metric([name, "forced"], counts.forced_tokens)
        answer.add_metric([name, "guessed"], counts.guessed_tokens)
        answer.add_metric([name, "sampled"], counts.answer_tokens - counts.forced_tokens - counts.guessed_tokens)
        for end, n in (("finished", counts.answers), ("failed", counts.failures), ("cancelled", counts.cancelled)):
            answers.add_metric([name, end], n)
        for result, n in (("hit", one.kept.hits), ("miss", one.kept.misses)):
            kept.add_metric([name, result], n)
    yield from (prompt, answer, answers, kept)


def _rejections(models: list[Answers]) -> Metric:
    rejections = CounterMetricFamily("slm_rejections", "Answers that were valid and made no sense, by what was wrong", labels=["model", "feature", "reason"])
    for one in models:
        for (feature, reason), n in list(one.verdicts.rejected.items()):
            rejections.add_metric([one.version.name, feature, reason], n)
    return rejections


def _spreads(name: str, about: str, predictors: list[Predictor], spreads: Callable[[Predictor], dict[str, Spread]], *, label: str = "") -> Metric:
    family = HistogramMetricFamily(name, about, labels=["model", label] if label else ["model"])
    for one in predictors:
        for value, spread in spreads(one).items():
            counted = list(accumulate(list(spread.counts)))
            bounds = [*map(str, spread.bounds), "+Inf"]
            family.add_metric([one.version.name, value] if label else [one.version.name], list(zip(bounds, counted, strict=True)), spread.total)
    return family
