"""Owns what another server's reply says: its text, and how likely each token was to the model, where the server tells.

Knows nothing of how it was asked.
"""

import math
import re
from collections.abc import Sequence

from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob, TopLogprob

from inference.confidence import level_marks
from inference.engine.completion import Completion
from inference.errors import RemoteRefused, Truncated
from shared_schemas.feature import AnyFeature, PromptStyle
from shared_schemas.features.risk import RiskOutput

_LEVEL, _TERSE_LEVEL = re.compile(rb'"risk_level"\s*:\s*"'), re.compile(rb"\s*\[\s*")
_TERM = re.compile(rb'"(?:[^"\\]|\\.)*"(?P<is_key>\s*:)?|-?\d[\d.eE+-]*')
_UNKNOWN_TOKEN = -1


def read_reply(feature: AnyFeature, reply: ChatCompletion, style: PromptStyle) -> Completion:
    """The reply as the engine's own completions are: so it is judged and weighed in the same way.

    Token ids are not told (-1). Raises Truncated when the answer was cut, RemoteRefused when there is none.
    """
    choice = reply.choices[0] if reply.choices else None
    if choice is None or choice.message is None or not choice.message.content:
        raise RemoteRefused("The model's server gave an empty answer")
    done = Completion(text=choice.message.content)
    if reply.usage:
        details = reply.usage.prompt_tokens_details
        done.prompt_tokens, done.cached_tokens = reply.usage.prompt_tokens, (details.cached_tokens or 0) if details else 0
        done.tokens = [_UNKNOWN_TOKEN] * reply.usage.completion_tokens
    if choice.finish_reason == "length":
        raise Truncated(f"The answer was not complete after {len(done.tokens)} tokens")
    tokens = choice.logprobs.content if choice.logprobs else None
    if tokens:
        _weigh(done, tokens, style, is_risk=feature.output is RiskOutput)
    return done


def _weigh(done: Completion, tokens: Sequence[ChatCompletionTokenLogprob], style: PromptStyle, *, is_risk: bool) -> None:
    """Only tokens inside values count: keys and punctuation are the schema's, whatever the model would have liked."""
    text, starts = b"", []
    for token in tokens:
        starts.append(len(text))
        text += _piece(token)
    values = [match.span() for match in _TERM.finditer(text) if not match["is_key"]]
    for start, token in zip(starts, tokens, strict=True):
        if any(begin <= start < end for begin, end in values):
            done.log_probabilities.append(max(token.logprob, -100.0))
            done.log_masked.append(None)
            done.chosen_at.append(start)
    level = _TERSE_LEVEL.match(text) if style == "terse" else _LEVEL.search(text)
    if is_risk and level:
        at = max(i for i, start in enumerate(starts) if start <= level.end())
        _record(done, tokens[at], level.end() - starts[at], level_marks(style))


def _record(done: Completion, token: ChatCompletionTokenLogprob, ahead: int, marks: Sequence[str]) -> None:
    """The distribution over the levels where one was chosen: `ahead` bytes of the token come before the level's first letter.

    `allowed_mass` is what the model gave to all levels, as far as the most likely tokens tell.
    """
    before, mass = _piece(token)[:ahead], dict.fromkeys(marks, 0.0)
    others: Sequence[ChatCompletionTokenLogprob | TopLogprob] = token.top_logprobs or [token]
    for other in others:
        rest = _piece(other).removeprefix(before)
        letter = rest[:1].decode("ascii", "replace")
        if letter in mass and _piece(other).startswith(before):
            mass[letter] += math.exp(other.logprob)
    total = sum(mass.values())
    if total:
        done.allowed_mass = total
        done.first_letters = {letter: p / total for letter, p in mass.items()}


def _piece(token: ChatCompletionTokenLogprob | TopLogprob) -> bytes:
    return bytes(token.bytes) if token.bytes is not None else token.token.encode()
