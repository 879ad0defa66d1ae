"""Owns what is known of a fine-tune while it runs. Imported by both environments, so it imports the standard library alone."""

import json
from dataclasses import dataclass

MARK = "@progress "
"""What a line of a training's output begins with when a report follows."""


@dataclass(frozen=True)
class TrainingProgress:
    """One finished step."""

    step: int
    steps: int
    loss: float | None
    """Mean over the step's answer tokens; None when it is no number: the training stops there."""
    tokens_per_s: float
    """Answer tokens trained on in each second, all processes together; 0 at the first step."""
    seconds_left: float

    def __str__(self) -> str:
        loss = "not a number" if self.loss is None else f"{self.loss:.3g}"
        return f"fine-tune: step {self.step} of {self.steps}, loss {loss}, {self.tokens_per_s:.0f} tokens/s, {_clock(self.seconds_left)} left"


class Stopwatch:
    """Turns a training's reports into progress: the time left is that of the steps seen so far, carried on."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def read(self, line: str, *, now: float) -> TrainingProgress | None:
        """The progress that this line of output reports, if it reports any. `now` is in seconds of any steady clock."""
        if not line.startswith(MARK):
            return None
        report = json.loads(line.removeprefix(MARK))
        step, steps = int(report["step"]), int(report["steps"])
        first_step, since = self._first = self._first or (step, now)
        per_step = (now - since) / (step - first_step) if step > first_step else 0.0
        return TrainingProgress(step, steps, report["loss"], report["tokens_per_s"], per_step * (steps - step))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
