"""Owns what can go wrong in serving.

InferenceError             each has a `code`; `app.py` alone turns it into a status
 ├─ StartError             the service cannot start: settings, files, model, schema
 ├─ UnusableSchema         a schema cannot be enforced
 ├─ BadRequest             what the caller sent cannot be answered
 ├─ Overloaded             the queue is full
 ├─ Unavailable            the server that should answer cannot be reached
 ├─ DeadlineExceeded       the answer did not come in time
 ├─ Cancelled              the caller went away
 ├─ PromptTooLong          the prompt does not fit the context
 ├─ RemoteRefused          another server would not answer: its fault or the operator's, not the caller's
 ├─ UnknownModel           no model and no folder has that name
 ├─ ModelBusy              the model is at work, or another one is being loaded
 ├─ CannotServe            a model was not put to work, and the others go on; the text says why
 │   └─ FailedSelfTest      it was its own answer that was not good enough
 └─ BadAnswer              the model answered, and the answer must not be used
     ├─ Truncated          it reached the token limit
     ├─ InvalidOutput      it does not match the schema
     └─ Rejected           it matches the schema but makes no sense; `faults` says why
"""

from collections.abc import Sequence


class InferenceError(Exception):
    code = "internal"


class StartError(InferenceError):
    """The service cannot start; the text is one line for the operator."""

    code = "start"


class UnusableSchema(InferenceError):
    """A schema cannot be enforced; the text says what in it."""

    code = "unusable_schema"


class Overloaded(InferenceError):
    """The queue is full; try again after `retry_after_s` seconds."""

    code = "overloaded"

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(f"Cannot take the request: {waiting} are waiting already")
        self.retry_after_s = retry_after_s


class Unavailable(InferenceError):
    """The server that should answer cannot be reached; try again after `retry_after_s` seconds."""

    code = "unavailable"

    def __init__(self, why: str, retry_after_s: int) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(InferenceError):
    """The answer did not come within its deadline."""

    code = "timeout"


class Cancelled(InferenceError):
    """The caller went away before the answer was ready."""

    code = "cancelled"


class PromptTooLong(InferenceError):
    """The prompt and its answer do not fit the model's context."""

    code = "prompt_too_long"


class RemoteRefused(InferenceError):
    """Another server would not answer: its fault or the operator's, not the caller's."""

    code = "remote_refused"


class UnknownModel(InferenceError):
    """No model and no folder has that name."""

    code = "unknown_model"


class ModelBusy(InferenceError):
    """The model is at work, or another one is being loaded."""

    code = "model_busy"


class CannotServe(InferenceError):
    """A model was not put to work, and the others go on; the text says why."""

    code = "cannot_serve"


class FailedSelfTest(CannotServe):
    """A model's answer to a golden request must not be used: the model is to blame, not this machine, and trying again changes nothing."""

    code = "failed_self_test"


class BadAnswer(InferenceError):
    """The model answered, and the answer must not be used."""

    code = "bad_answer"


class Truncated(BadAnswer):
    """The answer reached its token limit before it was complete."""

    code = "truncated"


class InvalidOutput(BadAnswer):
    """The answer does not match the feature's schema."""

    code = "invalid_output"


class Rejected(BadAnswer):
    """The answer matches the schema, and the feature rejects what it says."""

    code = "rejected"

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(f"The model's answer is not acceptable: {faults[0]}")
        self.faults = tuple(faults)


class BadRequest(InferenceError):
    """What the caller sent cannot be answered; `param` is the field, where it is one field's fault."""

    code = "invalid_value"

    def __init__(self, message: str, *, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
