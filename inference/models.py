"""Owns which models are live and which one answers which feature: load beside the old, test, swap, drain, unload.

All of it runs on the event loop, so that a swap is one assignment between two requests; only loading and closing take
threads. Knows nothing of HTTP, nor of what a model is made of.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from inference.answers import Answers, Readiness
from inference.errors import CannotServe, InferenceError, ModelBusy, StartError, UnknownModel
from inference.loader import START, Loader
from inference.self_test import self_test
from shared_schemas.closed import Closed
from shared_schemas.features import FEATURES
from shared_schemas.model_version import ModelVersion

_DRAIN_MARGIN_S = 5.0
"""How much longer than the longest request a retired model is waited for."""

_FAILURES_KEPT = 8
DEFAULT = "default"

log = logging.getLogger("inference.models")

State = Literal["live", "loading", "draining", "failed"]


class ModelFacts(Closed):
    """One model as others see it. Until it is loaded, `name` is its folder's; `why` says what a failed load failed of."""

    name: str
    state: State
    features: Sequence[str] = ()
    version: ModelVersion | None = None
    weights_sha256: str | None = None
    loaded_at: datetime | None = None
    why: str | None = None


@dataclass(eq=False)
class Live:
    """A loaded model. `folder` is what it was loaded as; `at_work` counts the requests that it is answering."""

    answers: Answers
    folder: str
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    at_work: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return self.answers.version.name

    @contextmanager
    def use(self) -> Iterator[Answers]:
        self.at_work += 1
        self.idle.clear()
        try:
            yield self.answers
        finally:
            self.at_work -= 1
            if not self.at_work:
                self.idle.set()


class Models:
    """The live models. `first` answers every feature until another one is put to work; without a loader it stays alone.

    A request takes at most `longest_s` seconds: a retired model is waited for a little longer, and a self-test has as much.
    `others` answer their features instead of `first`. `keep` is told by feature whose folder shall answer, before it does;
    when it raises CannotServe, the swap does not happen.
    """

    def __init__(
        self, first: Answers | Live, loader: Loader | None = None, *, longest_s: float = 20.0, others: Mapping[str, Live] | None = None, keep: Callable[[Mapping[str, str]], None] = lambda _: None
    ) -> None:
        live = first if isinstance(first, Live) else Live(first, START)
        self._loader = loader
        self._longest_s = longest_s
        self._keep = keep
        self._answering: dict[str, Live] = {**dict.fromkeys(FEATURES, live), **(others or {})}
        self._live: dict[str, Live] = {live.name: live for live in self._answering.values()}
        self._draining: dict[Live, asyncio.Task[None]] = {}
        self._loading: str | None = None
        self._later: set[asyncio.Task[None]] = set()
        self._failed: dict[str, str] = {}

    def answering(self, feature: str) -> AbstractContextManager[Answers]:
        """The model that answers the feature now; it stays loaded until the block ends."""
        return self._answering[feature].use()

    def using(self, name: str) -> AbstractContextManager[Answers]:
        """The live model of that name, or of `default`: the one of the first feature. It stays loaded until the block ends.

        Raises UnknownModel.
        """
        live = self._answering[next(iter(FEATURES))] if name == DEFAULT else self._live.get(name)
        if live is None:
            raise UnknownModel(f"No live model is called {name[:100]!r} (live: {', '.join(self._live)}; {DEFAULT!r} is the first feature's)")
        return live.use()

    def version(self, feature: str) -> ModelVersion:
        return self._answering[feature].answers.version

    def loaded(self) -> list[Answers]:
        """All that are loaded, those that finish their last requests too."""
        return [live.answers for live in (*self._live.values(), *self._draining)]

    def facts(self) -> list[ModelFacts]:
        facts = [_facts(live, "live", self._features_of(live)) for live in self._live.values()]
        facts += [_facts(live, "draining", []) for live in self._draining]
        facts += [ModelFacts(name=self._loading, state="loading")] if self._loading else []
        return facts + [ModelFacts(name=folder, state="failed", why=why) for folder, why in self._failed.items()]

    async def readiness(self) -> Readiness:
        """Whether every feature can take one more request."""
        found = await asyncio.gather(*(live.answers.readiness() for live in set(self._answering.values())))
        return "unreachable" if "unreachable" in found else "full" if "full" in found else "ready"

    async def load(self, folder: str, features: Sequence[str]) -> ModelFacts:
        """Load a model beside the others (unless it is live already), test it, and let it answer `features` from then on.

        A model that answers nothing any more finishes its requests and is unloaded. Raises ModelBusy, UnknownModel and
        CannotServe; whatever is raised, every feature is answered as before.
        """
        return await self._load(self._begin(folder), folder, features)

    def load_later(self, folder: str, features: Sequence[str]) -> ModelFacts:
        """`load` without waiting for it; `facts` says what became of it, whatever that was. Raises ModelBusy."""

        async def load(loader: Loader) -> None:
            try:
                await self._load(loader, folder, features)
            except InferenceError as error:
                self._note_failure(folder, error)
                log.error("%s", error)
            except Exception as error:
                self._note_failure(folder, error)
                log.exception("Cannot load %r", folder)

        task = asyncio.create_task(load(self._begin(folder)))
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        return ModelFacts(name=folder, state="loading")

    def unload(self, name: str) -> ModelFacts:
        """Let a model that answers no feature finish and go. Raises UnknownModel and ModelBusy."""
        live = self._live.get(name)
        if live is None:
            raise UnknownModel(f"Cannot unload {name!r}: no live model is called that (live: {', '.join(self._live)})")
        features = self._features_of(live)
        if features:
            raise ModelBusy(f"Cannot unload {name!r}: it answers {', '.join(features)} (put another model to work first)")
        if live.folder == self._loading:
            raise ModelBusy(f"Cannot unload {name!r}: it is being put to work")
        self._retire(live)
        return _facts(live, "draining", [])

    async def stop(self) -> None:
        """Close every model. Nobody asks any more."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*(live.answers.stop() for live in self._live.values()), *self._draining.values())

    def _begin(self, folder: str) -> Loader:
        """From here until `_load` ends nothing else is loaded. Raises ModelBusy."""
        if self._loader is None or self._loading is not None:
            raise ModelBusy(f"Cannot load {folder!r}: " + ("this service keeps to one model" if self._loader is None else f"{self._loading!r} is being loaded"))
        self._loading = folder
        self._failed.pop(folder, None)
        return self._loader

    async def _load(self, loader: Loader, folder: str, features: Sequence[str]) -> ModelFacts:
        try:
            live = next((live for live in self._live.values() if live.folder == folder), None)
            live = await self._tested(live, features) if live else await self._loaded(loader, folder, features)
            self._put_to_work(live, features)
        except CannotServe as error:
            self._note_failure(folder, error)
            raise
        finally:
            self._loading = None
        return _facts(live, "live", self._features_of(live))

    def _note_failure(self, folder: str, error: Exception) -> None:
        self._failed = dict([*self._failed.items(), (folder, str(error) or type(error).__name__)][-_FAILURES_KEPT:])

    async def _loaded(self, loader: Loader, folder: str, features: Sequence[str]) -> Live:
        """The folder's model, tested and live."""
        try:
            live = Live(await asyncio.to_thread(loader.load, folder), folder)
        except (StartError, OSError) as error:
            raise CannotServe(f"Cannot put {folder!r} to work: {error}") from None
        try:
            if live.name in self._live:
                raise CannotServe(f"Cannot put {folder!r} to work: another live model is called {live.name!r} too")
            await self._tested(live, features)
        except BaseException:
            await live.answers.stop()
            raise
        self._live = {**self._live, live.name: live}
        log.info("loaded: %s", live.name)
        return live

    async def _tested(self, live: Live, features: Sequence[str]) -> Live:
        """The same model, when it gives each feature's golden request an answer that is accepted in time."""
        with live.use() as answers:
            await self_test(answers, features, deadline_s=self._longest_s)
        return live

    def _put_to_work(self, live: Live, features: Sequence[str]) -> None:
        """Raises CannotServe when a restart could not come back with it; it stays loaded then and answers nothing new."""
        answering = {**self._answering, **dict.fromkeys(features, live)}
        if answering != self._answering:
            self._keep({feature: one.folder for feature, one in answering.items()})
        before, self._answering = set(self._answering.values()), answering
        log.info("%s answers: %s", live.name, ", ".join(self._features_of(live)) or "nothing yet")
        for old in before - set(self._answering.values()):
            self._retire(old)

    def _retire(self, live: Live) -> None:
        self._live = {name: other for name, other in self._live.items() if other is not live}
        self._draining[live] = asyncio.create_task(self._drain(live))

    async def _drain(self, live: Live) -> None:
        try:
            if live.at_work:
                async with asyncio.timeout(self._longest_s + _DRAIN_MARGIN_S):
                    await live.idle.wait()
        except TimeoutError:
            log.warning("%s still has %d requests: they are ended", live.name, live.at_work)
        await live.answers.stop()
        del self._draining[live]
        log.info("unloaded: %s", live.name)

    def _features_of(self, live: Live) -> list[str]:
        return [name for name, answering in self._answering.items() if answering is live]


def _facts(live: Live, state: State, features: list[str]) -> ModelFacts:
    return ModelFacts(name=live.name, state=state, features=features, version=live.answers.version, weights_sha256=live.answers.weights_sha256, loaded_at=live.loaded_at)
