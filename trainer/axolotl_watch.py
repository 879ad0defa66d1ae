"""Owns what a fine-tune tells us while it runs, and when it must stop. Runs inside Axolotl's environment, not ours.

Two Axolotl plugins. `Watch` prints a line of JSON behind `MARK` for each step, stops at the first loss that is no number,
and ends the training when the process that asked for it dies. `CpuProcesses` lets several processes share a machine
without a GPU.
"""

import ctypes
import json
import math
import os
import signal
from typing import Any

import torch
from accelerate import PartialState
from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

from trainer.progress import MARK

_PR_SET_PDEATHSIG = 1


class Watch(BasePlugin):  # type: ignore[misc]
    """Reports every logged step of the first process; stops all of them at a loss that is not finite."""

    def register(self, cfg: dict[str, Any]) -> None:  # noqa: ARG002
        die_with_parent()

    def get_training_args(self, cfg: Any) -> dict[str, Any]:  # noqa: ARG002
        """transformers else logs the last average in place of a NaN, and the run goes on with ruined weights."""
        return {"logging_nan_inf_filter": False}

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[TrainerCallback]:  # noqa: ARG002
        return [_Reporter()]


class CpuProcesses(BasePlugin):  # type: ignore[misc]
    """Axolotl places each process of several on the GPU of its number; without GPUs that number names nothing.

    Accelerate, asked for DeepSpeed, forms a group of processes only where it knows of GPUs, unless it is told the backend first.
    """

    def register(self, cfg: dict[str, Any]) -> None:
        if not torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
            if cfg.get("deepspeed"):
                os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
            PartialState(backend="gloo")

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:  # noqa: ARG002
        """The first hook after Axolotl has made up its settings and before it reads where the model goes. Loads nothing."""
        if not torch.cuda.is_available():
            cfg.device_map = {"": "cpu"}


class _Reporter(TrainerCallback):  # type: ignore[misc]
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:  # noqa: ARG002
        logs = logs or {}
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        finite = math.isfinite(loss)
        if os.environ.get("RANK", "0") == "0":
            rate = float(logs.get("tokens/train_per_sec_per_gpu", 0.0)) * args.world_size
            report = {"step": state.global_step, "steps": state.max_steps, "loss": loss if finite else None, "tokens_per_s": round(rate, 1)}
            print(f"\n{MARK}{json.dumps(report)}", flush=True)
        if not finite:
            raise FloatingPointError(f"the loss is {loss} at step {state.global_step}")


def die_with_parent() -> None:
    """A training whose operator was killed would go on and write into a folder that the next run thinks is its own.

    Linux only (prctl(2)); elsewhere the training ends at its next line of output, whose reader is gone.
    """
    if "TRAINER_PID" in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
