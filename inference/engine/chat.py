"""Owns turning chat messages into token ids with the model's own template.

The template's text may hold control tokens; what a message says never becomes one. Knows nothing of features.
"""

from collections.abc import Sequence

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inference.engine.llama import Llama
from inference.errors import StartError
from shared_schemas.feature import Message

_MARK = "\ufdd0{}\ufdd1"
"""Stands for a message's content while the template is rendered; Unicode non-characters that no template holds."""


class Chat:
    """Renders messages for one model. Raises StartError for a model without a usable template."""

    def __init__(self, llama: Llama) -> None:
        source = llama.chat_template()
        if source is None:
            raise StartError("Cannot use this model: it carries no chat template")
        self._llama = llama
        try:
            environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
            environment.globals["raise_exception"] = _refuse
            self._template = environment.from_string(source)
            self.tokens([Message("system", "a"), Message("user", "b")])
        except TemplateError as error:
            raise StartError(f"Cannot use the model's chat template: {error}") from None

    def constant_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Token ids that every conversation beginning with these messages begins with."""
        first, second = (self.tokens([*messages, Message("user", text)]) for text in ("{", "["))
        return [a for i, a in enumerate(first[: len(second)]) if first[: i + 1] == second[: i + 1]]

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to where the assistant's answer begins."""
        rendered = self._template.render(
            messages=[{"role": message.role, "content": _MARK.format(i)} for i, message in enumerate(messages)],
            add_generation_prompt=True,
            bos_token="",  # `begin_of_text` is it, where the model wants one
            eos_token=self._llama.end_text(),
        )
        ids = self._llama.begin_of_text()
        for i, message in enumerate(messages):
            before, mark, rendered = rendered.partition(_MARK.format(i))
            if not mark:
                raise TemplateError(f"it leaves out the {message.role} message")
            ids += self._llama.tokenize(before, special=True)
            ids += self._llama.tokenize(message.content, special=False)
        return ids + self._llama.tokenize(rendered, special=True)


def _refuse(reason: str) -> None:
    raise TemplateError(reason)
