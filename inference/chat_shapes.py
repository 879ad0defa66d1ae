"""Owns the shapes of chat completions as OpenAI's clients send and read them. Knows nothing of how an answer is made.

A field that is not honoured accepts only the value that asks for nothing (`n` 1, `logprobs` false, `store` false); a field that
is not named here is refused. `user`, `safety_identifier`, `prompt_cache_key` and `metadata` change no answer: they are accepted and not kept.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared_schemas.closed import Closed

DEFAULT_MAX_TOKENS = 512
MOST_MESSAGES = 512


class TextPart(Closed):
    type: Literal["text"]
    text: str


Content = str | Annotated[list[TextPart], Field(min_length=1, max_length=MOST_MESSAGES)]


class InstructionMessage(Closed):
    """`developer` is OpenAI's newer word for `system`."""

    role: Literal["system", "developer", "user"]
    content: Content


class AssistantMessage(Closed):
    """`refusal` is null in our own answers, which callers send back."""

    role: Literal["assistant"]
    content: Content
    refusal: None = None


AnyMessage = Annotated[InstructionMessage | AssistantMessage, Field(discriminator="role")]


class PlainText(Closed):
    type: Literal["text"]


class JsonObject(Closed):
    """Any JSON object, enforced."""

    type: Literal["json_object"]


class NamedSchema(Closed):
    """`schema` is enforced whatever `strict` says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    answer_schema: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None
    description: str | None = None


class JsonSchema(Closed):
    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[PlainText | JsonObject | JsonSchema, Field(discriminator="type")]


class StreamOptions(Closed):
    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


Stop = Annotated[str, Field(min_length=1, max_length=64)]


class ChatRequest(Closed):
    """What is asked. Without `temperature` the likeliest token is taken each time, so that the same question gets the same answer."""

    model: str
    messages: Annotated[list[AnyMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    store: Literal[False] | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    tool_choice: Literal["none"] | None = None
    service_tier: Literal["auto", "default"] | None = None

    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "ChatRequest":
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ")
        if self.stream_options and not self.stream:
            raise ValueError("stream_options is only allowed when stream is true")
        if self.stops and self.is_structured:
            raise ValueError("stop cannot be combined with this response_format: its answer ends where the JSON ends")
        return self

    @property
    def most_tokens(self) -> int:
        return self.max_completion_tokens or self.max_tokens or DEFAULT_MAX_TOKENS

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def is_structured(self) -> bool:
        return isinstance(self.response_format, JsonObject | JsonSchema)


class Shape(BaseModel):
    """What we write: extra keys cannot come about."""

    model_config = ConfigDict(extra="forbid")


class CachedTokens(Shape):
    cached_tokens: int


class ChatUsage(Shape):
    """Tokens; `cached_tokens` of the prompt were in memory already."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


FinishReason = Literal["stop", "length"]


class AnswerMessage(Shape):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(Shape):
    index: Literal[0] = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(Shape):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    system_fingerprint: str


class Delta(Shape):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Shape):
    index: Literal[0] = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class Chunk(Shape):
    """One event of a stream. The last one before `[DONE]` has the usage and no choice, if `include_usage` asks for it."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
    system_fingerprint: str


class Fault(BaseModel):
    """`param` names the field at fault, `code` is for programs."""

    message: str
    type: str
    param: str | None
    code: str


class FaultBody(BaseModel):
    error: Fault
