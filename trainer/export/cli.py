"""Owns the command of an export: arguments in, a table out."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from shared_schemas.feature import PromptStyle
from shared_schemas.features import FEATURES
from trainer.data.row import read_rows
from trainer.errors import BrokenRows, StageFailed
from trainer.export import quantise
from trainer.export.build import QUANTISATIONS, Lineage, Sources, Trials, export_model
from trainer.export.choose import Margin
from trainer.export.task import task_scores
from trainer.finetune import REPOSITORY
from trainer.format import Pair, Row, format_conversations

EXAMPLES = """\
examples:
  python -m trainer export --adapter .stack/run/adapter --base .stack/run/base --base-gguf smollm2.gguf \\
      --held-out .stack/run/data/risk/split/gold.jsonl --prompt-style terse --out .stack/export
  python -m trainer export … --quantisations Q8_0,Q4_0+ffn_down=Q8_0 --train .stack/run/mix/train.jsonl
                                                        with an importance matrix from the training set, and a mix of types
  python -m trainer export … --judge 40 --json          each file also answers 40 held-out inputs; the manifest on stdout

--base-gguf is the file that --base was dequantised from: the models get its vocabulary, which the converter cannot make
from the weights. Leave it out for a base that came with a tokenizer of its own.
OUT gets a folder for f16, for each quantisation and for the adapter alone, and manifest.json with hashes, proof and choice.
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *, progress: Callable[[str], None]) -> None:
    parser = commands.add_parser("export", help="a trained adapter to GGUF files: merged, quantised, proved, chosen", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, required=True, help="folder with adapter_model.safetensors")
    parser.add_argument("--base", type=Path, required=True, help="folder with the Hugging Face weights that it was trained on")
    parser.add_argument("--base-gguf", type=Path, help="the GGUF that the base was dequantised from")
    parser.add_argument("--held-out", type=Path, required=True, help="rows (JSON lines) that the gate reads: gold.jsonl or test.jsonl of the split stage")
    parser.add_argument("--out", type=Path, required=True, help="where the files go; what is done there is not done again")
    parser.add_argument(
        "--quantisations", type=_quantisations, default=QUANTISATIONS, metavar="A,B", help=f"besides f16 (default: {','.join(QUANTISATIONS)}; known: {', '.join(quantise.QUANTISATIONS)})"
    )
    parser.add_argument("--train", type=Path, help="chat rows of the training set, for an importance matrix (default: none)")
    parser.add_argument("--calibrate", type=_natural, default=32, metavar="N", help="rows for the importance matrix (default: %(default)s)")
    parser.add_argument("--conversations", type=_natural, default=24, metavar="N", help="held-out examples that the gate reads (default: %(default)s)")
    parser.add_argument("--judge", type=_natural, metavar="N", help="held-out inputs that each file answers (default: none)")
    parser.add_argument("--prompt-style", choices=get_args(PromptStyle), default="terse", help="how the model was trained to be told (default: %(default)s)")
    parser.add_argument("--max-ratio", type=float, default=Margin().ratio, metavar="X", help="perplexity to f16's that a choice may have (default: %(default)s)")
    parser.add_argument("--rounds", type=_natural, default=3, help="times that each speed is measured (default: %(default)s)")
    parser.add_argument("--name", default="model", help="what people call the model (default: %(default)s)")
    parser.add_argument("--base-name", default="SmolLM2-135M-Instruct", help="the base's name (default: %(default)s)")
    parser.add_argument("--licence", default="apache-2.0", help="its licence (default: %(default)s)")
    parser.add_argument("--run-id", default="", help="the training run, for the files' metadata")
    parser.add_argument("--dataset", action="append", default=[], metavar="SHA256", help="a dataset that it was trained on; may be repeated")
    parser.add_argument("--axolotl", type=Path, default=REPOSITORY / ".axolotl", help="Axolotl's environment (default: .axolotl)")
    parser.add_argument("--json", action="store_true", help="print the manifest instead of a table")
    parser.set_defaults(run=lambda options: _export(options, progress))


def _natural(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _quantisations(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        try:
            quantise.parse(name)
        except StageFailed as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return names


def _export(options: argparse.Namespace, progress: Callable[[str], None]) -> None:
    examples = _spread(_examples(options.held_out), max(options.conversations, options.judge or 0))
    style: PromptStyle = options.prompt_style
    judged = _spread(examples, options.judge) if options.judge else []
    versions = tuple(f"{feature.name}: {feature.prompt_version(style)}" for feature in FEATURES.values())
    lineage = Lineage(name=options.name, base=options.base_name, licence=options.licence, run=options.run_id, datasets=tuple(options.dataset), prompt_versions=versions)
    trials = Trials(
        held_out=format_conversations(_spread(examples, options.conversations), style),
        calibration=_rows(options.train)[: options.calibrate] if options.train else (),
        judge=(lambda path: task_scores(path, judged, style, progress=progress)) if judged else None,
        margin=Margin(ratio=options.max_ratio),
        rounds=options.rounds,
    )
    sources = Sources(options.base, options.adapter, lineage, options.base_gguf)
    manifest = export_model(sources, options.out, quantisations=options.quantisations, trials=trials, axolotl=options.axolotl, progress=progress)
    if options.json:
        print(json.dumps(manifest, indent=2))
    else:
        Console().print(_table(manifest))


def _spread(examples: Sequence[Pair], count: int) -> list[Pair]:
    """So many of them, of each feature alike."""
    by_feature = [[example for example in examples if example.feature == name] for name in FEATURES]
    turns = [one for i in range(max(map(len, by_feature), default=0)) for some in by_feature for one in some[i : i + 1]]
    return turns[:count]


def _examples(path: Path) -> list[Pair]:
    examples: list[Pair] = list(read_rows(path))
    if not examples:
        raise BrokenRows(f"Cannot prove a model on {path}: it is empty")
    return examples


def _rows(path: Path) -> list[Row]:
    try:
        return [{"messages": json.loads(line)["messages"]} for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenRows(f"Cannot read chat rows from {path}: {type(error).__name__}") from None


def _table(manifest: Mapping[str, Any]) -> Table:
    choice = manifest["choice"]
    table = Table(title=f"{manifest['lineage']['name']}: {choice['chosen']} is chosen", title_justify="left")
    for column in ("quantisation", "MB", "perplexity, to f16", "KL", "prefill/s", "decode/s", "request, s", "no choice because"):
        table.add_column(column)
    for row in choice["table"]:
        table.add_row(row["quantisation"], f"{row['bytes'] / 1e6:.1f}", _figure(row["ratio"], ".4f"), _figure(row["kl"], ".1e"), *(_figure(row[key], ".0f") for key in ("prefill", "decode")), _figure(row["request_s"], ".2f"), row["refused"])  # fmt: skip
    return table


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
