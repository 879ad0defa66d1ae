"""Owns the template teacher of the risk coach: made-up situations and what a good coach would say to each.

Knows nothing of models or files. Deterministic: the same seed writes the same examples. It is a template, and labelled so.
"""

import random
from collections.abc import Sequence

from shared_schemas.example import Example
from shared_schemas.features.risk import LEVELS, Level, Milestone, RiskInput, RiskOutput, describe, round_half_up
from trainer.task_titles import KINDS, Kind, make_task

MILESTONES: tuple[Milestone, ...] = ("none", "50_percent", "75_percent", "1h_left", "30m_left")
BUDGET_HOURS = (0.5, 1, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 12, 16, 24, 40, 73, 105, 105, 105, 171)

TIME = {
    "50_percent": ("Half of your time for this task is used", "You are halfway through your time", "Half of the planned time is gone"),
    "75_percent": ("Three quarters of your time is used", "Three quarters of the planned time is gone", "Only the last quarter of your time remains"),
    "1h_left": ("About one hour is left for this task", "You are in the last hour of this task", "One hour of your time remains"),
    "30m_left": ("Only about 30 minutes are left", "The last 30 minutes of this task have begun", "You have about 30 minutes left"),
}  # fmt: skip
PROGRESS = {
    "unknown": ("{done}% of the work is done so far.", "So far {done}% of the work is ticked off."),
    "ahead": ("{done}% of the work is done, which puts you ahead of the clock.", "With {done}% done you are ahead of the clock."),
    "on_pace": ("{done}% of the work is done, right in step with the clock.", "With {done}% done you are keeping pace."),
    "behind": ("{done}% of the work is done, a little behind the clock.", "With {done}% done you are slightly behind."),
    "far_behind": ("Only {done}% of the work is done, well behind the clock.", "With just {done}% done you are far behind the clock."),
}  # fmt: skip
NOTHING = ("Nothing is ticked off yet, so the first step matters most.", "No step is ticked off yet, and that is what counts now.")
EVERYTHING = ("All the work is ticked off, so only the handover is missing.", "Everything is ticked off, which is great work.")
START = ("You are at the very beginning of this task", "This task has only just begun")
GONE = ("The planned time is used up", "All of the planned time is gone")
LATE = ("At this speed you would finish about {late} late.", "If nothing changes, you will be about {late} late.")

KEEP = {
    "low": ("Keep this rhythm and tick off the next step as soon as it is done.", "Good work so far: carry on with the next open step.", "Stay with it and finish the next step before you switch to anything else."),
    "medium": ("Pick the smallest open step and finish it within the next 30 minutes.", "Choose the one step that moves this task most and finish it today.", "Block the next hour for this task and work on nothing else."),
    "high": ("Put everything else aside and finish the most important open step now.", "Work only on this task until the next step is ticked off.", "Decide now what is essential, do that first and drop the rest."),
}  # fmt: skip
MICRO = {
    "low": ("You are close: finish the next small piece in the next few minutes.", "Keep going and close this small task in one sitting."),
    "medium": ("Set a timer for 15 minutes and finish the next small piece.", "Close one small piece in the next 15 minutes, you can do this."),
    "high": ("Start this very minute and finish the next small piece in 10 minutes.", "Drop everything else for 10 minutes and close one small piece."),
}  # fmt: skip
BEGIN = ("Open the task now and do the first small step, you can do this.", "Start with the easiest step right now and tick it off.")
HAND_OVER = ("Hand the result in for review now, you have earned it.", "Ask for the review today so that this task can be closed.")
HELP = {
    "medium": ("If something blocks you, tell your manager today.", "Ask a teammate for help before the day ends if you are stuck.", "Send your manager a short note on what is still open."),
    "high": ("Tell your manager now what is open and agree on a realistic time.", "Ask for help right away, a short call can save the day.", "Tell your team now which step is at risk and who can help."),
}  # fmt: skip
BY_KIND = {
    "learn": ("Write down one thing you learned and one that is still unclear.", "Practise on one small exercise instead of reading on."),
    "soft": ("Practise it in your next meeting and note how it went.", "Ask one colleague for honest feedback on it today."),
    "screen": ("Show the screen to one person today and note what to change.", "Check the screen on a phone before you go on."),
    "fix": ("Write down how to reproduce the fault before you change more.", "Test the fix once on the real page before you go on."),
    "document": ("Write the rough outline first and polish it later.", "Let one reader check the draft today."),
    "integrate": ("Try one real call to the service before you build more.", "Check the access keys and limits of the service first."),
    "migrate": ("Move a small sample first and check it.", "Make a backup before the next batch."),
}  # fmt: skip


def risk_examples(count: int, kinds: tuple[Kind, ...] = KINDS, *, seed: int) -> list[Example]:
    rng = random.Random(seed)
    return [_example(kinds, rng) for _ in range(count)]


def _example(kinds: tuple[Kind, ...], rng: random.Random) -> Example:
    kind = rng.choice(kinds)
    title = make_task(kind, rng).title
    wanted = rng.choice(LEVELS)
    task = situation(title, rng)
    for _ in range(20):
        if task.suggested == wanted:
            break
        task = situation(title, rng)
    return Example(feature="risk", origin="template", prompt_input=task, output=coach(task, kind.name))


def situation(title: str, rng: random.Random) -> RiskInput:
    """One task at one moment, with figures as the database would compute them (V4 mostly, V3 sometimes)."""
    milestone = rng.choice(MILESTONES)
    budget = int(60 * rng.choice(BUDGET_HOURS)) if rng.random() > 0.05 else 0
    steps = rng.choice((0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 12))
    steps_done = rng.choice((0, rng.randint(0, steps), rng.randint(0, steps), rng.randint(0, steps))) if steps else 0
    done = round_half_up(100 * steps_done, steps) if steps else rng.choice((0, 0, 20, 40, 60, 80))
    spent = _spent(milestone, budget, rng)
    delay = _delay(budget, spent, done, v3=rng.random() < 0.2)
    return describe(
        title=title,
        level=_level(budget, delay),
        milestone=milestone if budget else "none",
        micro_task=bool(budget) and budget < 300,
        done_percent=done,
        steps_done=steps_done,
        steps_left=steps - steps_done,
        budget_minutes=budget,
        spent_minutes=spent,
        delay_minutes=delay,
    )


def _spent(milestone: Milestone, budget: int, rng: random.Random) -> int:
    """Wall-clock minutes: at a milestone, nights and weekends make them up to four times the business minutes."""
    used = {"none": rng.uniform(0, 1.6), "50_percent": 0.55, "75_percent": 0.8, "1h_left": 0.9, "30m_left": 0.95}[milestone]
    return int(max(budget, 30) * used * rng.choice((1, 1, 1.5, 3, 4) if milestone != "none" else (1,)))


def _delay(budget: int, spent: int, done: int, *, v3: bool) -> int:
    if not budget:
        return 0
    if done:
        return max(0, round_half_up(100 * spent, done) - budget)
    return int(budget * 0.3) if v3 else max(0, spent - budget)


def _level(budget: int, delay: int) -> Level:
    if delay > 120 or (budget and delay > budget / 5):
        return "high"
    return "medium" if delay > 30 else "low"


def coach(task: RiskInput, kind: str) -> RiskOutput:
    return RiskOutput(risk_level=task.suggested, reasons=_reasons(task), recommended_actions=_actions(task, kind))


def _say(texts: Sequence[str], which: int) -> str:
    """One of the ways to say it, chosen by what the input shows: a choice by chance could not be learned."""
    return texts[which % len(texts)]


def _reasons(task: RiskInput) -> list[str]:
    reasons = [f"{_time(task)}.", _progress(task)]
    if task.pace in {"behind", "far_behind"} and task.late:
        reasons.append(_say(LATE, task.micro_task).format(late=task.late))
    elif task.steps_left == 1:
        reasons.append("Just one step is still open.")
    elif task.steps_left and task.steps_done:
        reasons.append(f"{task.steps_left} steps are still open.")
    elif task.left and task.milestone in {"50_percent", "75_percent"}:
        reasons.append(f"About {task.left} of your time is left.")
    return reasons


def _time(task: RiskInput) -> str:
    if task.milestone in TIME:
        return _say(TIME[task.milestone], LEVELS.index(task.suggested))
    if task.pace == "unknown":
        return "No time is set for this task, so only its progress counts"
    if task.gone_percent >= 100:
        return _say(GONE, task.micro_task)
    if task.gone_percent < 10:
        return _say(START, task.micro_task)
    return _say((f"{task.gone_percent}% of the planned time is gone", f"You have used {task.gone_percent}% of your time"), task.micro_task)


def _progress(task: RiskInput) -> str:
    if task.done_percent == 0:
        return _say(NOTHING, task.micro_task)
    if task.done_percent == 100:
        return _say(EVERYTHING, task.micro_task)
    return _say(PROGRESS[task.pace], task.micro_task).format(done=task.done_percent)


def _actions(task: RiskInput, kind: str) -> list[str]:
    level, which = task.suggested, MILESTONES.index(task.milestone)
    if task.done_percent == 100:
        return [_say(HAND_OVER, task.micro_task)]
    first = _say(BEGIN, task.micro_task) if task.done_percent == 0 else _say((MICRO if task.micro_task else KEEP)[level], which)
    if level == "high" or (level == "medium" and kind not in BY_KIND):
        return [first, _say(HELP[level], which)]
    return [first, _say(BY_KIND[kind], task.micro_task)] if kind in BY_KIND else [first]
