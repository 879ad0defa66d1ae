"""Owns what is known of each base model that can be trained: its shape, its chat tokens, a recipe that suits it.

The shapes are those of the models' own config.json. Knows nothing of Axolotl or of memory.
"""

from typing import Literal

from shared_schemas.closed import Closed
from trainer.errors import WrongPreset
from trainer.recipe import LoraRecipe, Method

LLAMA_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PHI3_LINEARS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
"""Phi-3 fuses query, key and value into one matrix, and the two halves of its MLP into another."""


class Architecture(Closed):
    """The numbers of a Llama-like decoder: grouped-query attention, gated MLP, RMSNorm, no biases."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocab: int
    tied_embeddings: bool
    linears: tuple[str, ...] = LLAMA_LINEARS

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    def linear_shapes(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear layer of one block, in the order of `linears`."""
        h, i, kv = self.hidden, self.intermediate, self.kv_width
        shapes = {
            "q_proj": (h, h),
            "k_proj": (h, kv),
            "v_proj": (h, kv),
            "qkv_proj": (h, h + 2 * kv),
            "o_proj": (h, h),
            "gate_proj": (h, i),
            "up_proj": (h, i),
            "gate_up_proj": (h, 2 * i),
            "down_proj": (i, h),
        }
        return [shapes[name] for name in self.linears]

    def linear_parameters(self) -> int:
        """Weights of all blocks' linear layers: what NF4 quantises and LoRA adapts."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_shapes())

    def other_parameters(self) -> int:
        """Embeddings, output head and norms."""
        embeddings = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        return embeddings + (2 * self.layers + 1) * self.hidden

    def parameters(self) -> int:
        return self.linear_parameters() + self.other_parameters()


class Preset(Closed):
    """A base model and how to train it."""

    name: str
    hugging_face: str
    licence: str
    device: Literal["cpu", "gpu"]
    """Where its recipe is meant to run."""
    architecture: Architecture
    chat_template: str
    """The family of its template, for people: training uses the one in the tokenizer."""
    end_of_turn: str
    pad: str
    """A token that no answer holds: padding with the end of turn hides it from the loss in some collators."""
    eos: str | None = None
    """Set only where the tokenizer's own is wrong."""
    recipes: tuple[LoraRecipe, ...]

    def recipe(self, method: Method | None = None) -> LoraRecipe:
        """The recipe of this method; without one, the first: what fits a 16 GB card, or the CPU."""
        return next(recipe for recipe in self.recipes if method in {None, recipe.method})


def _recipes(*, first: Method, batch: int, accumulation: int, sequence_len: int, learning_rate: float = 2e-4, rank: int = 16) -> tuple[LoraRecipe, ...]:
    methods: tuple[Method, ...] = (first, "qlora" if first == "lora" else "lora")
    return tuple(
        LoraRecipe(method=method, rank=rank, alpha=2 * rank, batch=batch, accumulation=accumulation, sequence_len=sequence_len, learning_rate=learning_rate, gradient_checkpointing=True)
        for method in methods
    )


def _llama_3(name: str, hugging_face: str, architecture: Architecture, recipes: tuple[LoraRecipe, ...]) -> Preset:
    return Preset(
        name=name,
        hugging_face=hugging_face,
        licence="Llama 3.2 Community License",
        device="gpu",
        architecture=architecture,
        chat_template="llama3",
        end_of_turn="<|eot_id|>",
        pad="<|finetune_right_pad_id|>",
        recipes=recipes,
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="smollm2-135m",
            hugging_face="HuggingFaceTB/SmolLM2-135M-Instruct",
            licence="Apache-2.0",
            device="cpu",
            architecture=Architecture(layers=30, hidden=576, intermediate=1536, heads=9, kv_heads=3, vocab=49152, tied_embeddings=True),
            chat_template="chatml",
            end_of_turn="<|im_end|>",
            pad="<|endoftext|>",
            eos="<|im_end|>",
            recipes=(LoraRecipe(rounded_to="Q4_0"), LoraRecipe(method="qlora")),
        ),
        _llama_3(
            "llama-3.2-1b",
            "meta-llama/Llama-3.2-1B-Instruct",
            Architecture(layers=16, hidden=2048, intermediate=8192, heads=32, kv_heads=8, vocab=128256, tied_embeddings=True),
            _recipes(first="lora", batch=2, accumulation=4, sequence_len=2048),
        ),
        _llama_3(
            "llama-3.2-3b",
            "meta-llama/Llama-3.2-3B-Instruct",
            Architecture(layers=28, hidden=3072, intermediate=8192, heads=24, kv_heads=8, vocab=128256, tied_embeddings=True),
            _recipes(first="lora", batch=1, accumulation=8, sequence_len=2048),
        ),
        Preset(
            name="mistral-7b-v0.3",
            hugging_face="mistralai/Mistral-7B-Instruct-v0.3",
            licence="Apache-2.0",
            device="gpu",
            architecture=Architecture(layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8, vocab=32768, tied_embeddings=False),
            chat_template="mistral v3",
            end_of_turn="</s>",
            pad="<unk>",
            recipes=_recipes(first="qlora", batch=1, accumulation=8, sequence_len=2048, learning_rate=1e-4),
        ),
        Preset(
            name="phi-3.5-mini",
            hugging_face="microsoft/Phi-3.5-mini-instruct",
            licence="MIT",
            device="gpu",
            architecture=Architecture(layers=32, hidden=3072, intermediate=8192, heads=32, kv_heads=32, vocab=32064, tied_embeddings=False, linears=PHI3_LINEARS),
            chat_template="phi3",
            end_of_turn="<|end|>",
            pad="<|endoftext|>",
            recipes=_recipes(first="lora", batch=1, accumulation=8, sequence_len=2048),
        ),
    )
}
DEFAULT_PRESET = "smollm2-135m"


def find_preset(name: str) -> Preset:
    """Raises WrongPreset, with the names that there are."""
    if name not in PRESETS:
        raise WrongPreset(f"There is no preset {name!r}: the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
