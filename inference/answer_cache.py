"""Owns answers that one model gave, for the next caller who asks exactly the same. Knows nothing of how an answer is made.

Off unless ANSWER_CACHE says how many are kept. The service knows one caller (its token) and no organisation, so an answer may go
to another organisation than the one that asked first. What that leaks: an answer is a function of the input, the model, the
schema and the prompt, all of which are in the key, so whoever gets it has sent every byte that went into it and learns nothing
from it that the model would not have told. What does leak is time: an answer that comes at once says that somebody asked exactly
this before. A title that only one organisation knows would be betrayed to whoever guesses it; that is why it is off by default,
and meant for one organisation, or for inputs without free text.
"""

import hashlib
from collections import OrderedDict

from shared_schemas.closed import Closed
from shared_schemas.feature import AnyFeature, compact_json
from shared_schemas.model_version import ModelVersion
from shared_schemas.prediction import Prediction, Timings

FROM_CACHE = "from_cache"
"""Stands in `details` of an answer that was kept."""


class AnswerCache:
    """At most `most` accepted answers of one model, the latest used ones; it goes with the model. The event loop's thread alone uses it.

    An answer is as long as its feature's token limit at most: some kilobytes each. `hits` and `misses` are counted while it is on.
    """

    def __init__(self, version: ModelVersion, weights_sha256: str | None, most: int) -> None:
        self._begins = f"{version.model_dump_json()}\n{weights_sha256}\n"
        self._style = version.prompt_style
        self._most = most
        self._kept: OrderedDict[bytes, Prediction[Closed]] = OrderedDict()
        self._schemas: dict[str, str] = {}
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, feature: AnyFeature, prompt_input: Closed) -> Prediction[Closed] | None:
        """The kept answer, which says in its details that it is one; it took no time of the engine's."""
        if not self._most:
            return None
        key = self._key(feature, prompt_input)
        kept = self._kept.get(key)
        if kept is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return kept

    def keep(self, feature: AnyFeature, prompt_input: Closed, prediction: Prediction[Closed]) -> None:
        """An accepted answer, for the next time."""
        if not self._most:
            return
        usage = prediction.usage.model_copy(update={"cached_tokens": prediction.usage.prompt_tokens})
        nothing = Timings(queue_ms=0, prefill_ms=0, decode_ms=0)
        self._kept[self._key(feature, prompt_input)] = prediction.model_copy(update={"details": {**prediction.details, FROM_CACHE: 1.0}, "usage": usage, "timings": nothing})
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def _key(self, feature: AnyFeature, prompt_input: Closed) -> bytes:
        if feature.name not in self._schemas:
            self._schemas[feature.name] = str(feature.output_schema())
        facts = f"{self._begins}{feature.name}\n{feature.prompt_version(self._style)}\n{self._schemas[feature.name]}\n{compact_json(prompt_input)}"
        return hashlib.sha256(facts.encode("utf-8", "surrogatepass")).digest()
