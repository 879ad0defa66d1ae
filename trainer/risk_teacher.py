"""Owns the template teacher of the risk coach: made-up situations and what a good coach would say to each.

Knows nothing of models or files. Deterministic: the same seed writes the same examples. It is a template, and labelled so.
"""

import random
from collections.abc import Sequence

from shared_schemas.example import Example
from shared_schemas.features.risk import LEVELS, Level, Milestone, RiskInput, RiskOutput, describe, round_half_up
from trainer.task_titles import KINDS, Kind, make_task, subject_of

MILESTONES: tuple[Milestone, ...] = ("none", "50_percent", "75_percent", "1h_left", "30m_left")
BUDGET_HOURS = (0.5, 1, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 12, 16, 24, 40, 73, 105, 105, 105, 171)

TIME = {
    "50_percent": ("Half of your time for this task is used", "You are halfway through your time", "Half of the planned time is gone", "Your clock for this task stands at halfway", "You have used half of the time you had", "This is the halfway mark of your time"),
    "75_percent": ("Three quarters of your time is used", "Three quarters of the planned time is gone", "Only the last quarter of your time remains", "You are in the last quarter of your time", "The clock shows three quarters of your time gone", "You have spent three quarters of your time here"),
    "1h_left": ("About one hour is left for this task", "You are in the last hour of this task", "One hour of your time remains", "You still have about one hour for this", "The last hour of your time has begun", "There is one hour left on the clock"),
    "30m_left": ("Only about 30 minutes are left", "The last 30 minutes of this task have begun", "You have about 30 minutes left", "There are 30 minutes left on the clock", "Your time ends in about 30 minutes", "Half an hour of your time remains"),
}  # fmt: skip
PROGRESS = {
    "unknown": ("{done}% of the work is done so far.", "So far {done}% of the work is ticked off.", "You have {done}% of the work behind you.", "The list shows {done}% done."),
    "ahead": ("{done}% of the work is done, which puts you ahead of the clock.", "With {done}% done you are ahead of the clock.", "You have {done}% done and time in hand.", "At {done}% done you are faster than planned."),
    "on_pace": ("{done}% of the work is done, right in step with the clock.", "With {done}% done you are keeping pace.", "You have {done}% done, just as planned.", "At {done}% done you are on track."),
    "behind": ("{done}% of the work is done, a little behind the clock.", "With {done}% done you are slightly behind.", "You have {done}% done, a bit less than the clock asks for.", "At {done}% done you need to catch up a little."),
    "far_behind": ("Only {done}% of the work is done, well behind the clock.", "With just {done}% done you are far behind the clock.", "You have {done}% done, and the clock is far ahead of you.", "At {done}% done most of the work still lies before you."),
}  # fmt: skip
NOTHING = (
    "Nothing is ticked off yet, so the first step matters most.",
    "No step is ticked off yet, and that is what counts now.",
    "Nothing is done yet, but a first step changes that quickly.",
    "No step is done yet, so begin with a small one.",
    "Nothing is ticked off yet, and getting started is the hardest part.",
)
EVERYTHING = (
    "All the work is ticked off, so only the handover is missing.",
    "Everything is ticked off, which is great work.",
    "All the work is done, and the last thing left is to pass it on.",
    "Everything is done, well worth showing.",
)
START = ("You are at the very beginning of this task", "This task has only just begun", "The clock has hardly moved yet", "You have nearly all of your time before you")
GONE = ("The planned time is used up", "All of the planned time is gone", "The time set for this task is over", "You are past the planned time")
USED = ("{gone}% of the planned time is gone", "You have used {gone}% of your time", "The clock stands at {gone}% of your time", "{gone}% of the time for this is behind you")
NO_TIME = ("No time is set for this task, so only its progress counts", "This task has no time limit, so look at the work alone", "There is no clock on this task", "Nobody set a time for this task")
LATE = (
    "At this speed you would finish about {late} late.",
    "If nothing changes, you will be about {late} late.",
    "Going on like this adds about {late}.",
    "As things stand, you need about {late} more than planned.",
)
ONE_OPEN = ("Just one step is still open.", "Only one step is missing.", "One last step waits for you.", "A single step is left.")
SOME_OPEN = ("{open} steps are still open.", "You have {open} steps to go.", "There are {open} open steps on the list.", "{open} steps wait to be ticked off.")
TIME_LEFT = ("About {left} of your time is left.", "You have about {left} to work with.", "That leaves you about {left}.", "The clock still gives you about {left}.")

KEEP = {
    "low": ("Keep this rhythm and tick off the next step as soon as it is done.", "Good work so far: carry on with the next open step.", "Stay with it and finish the next step before you switch to anything else.", "Well done: choose the next step and give it your best hour.", "You are doing fine, so finish one more step today."),
    "medium": ("Pick the smallest open step and finish it within the next 30 minutes.", "Choose the one step that moves this task most and finish it today.", "Block the next hour for this task and work on nothing else.", "Write the open steps in order and start with the first one now.", "Close your mail for an hour and finish one step."),
    "high": ("Put everything else aside and finish the most important open step now.", "Work only on this task until the next step is ticked off.", "Decide now what is essential, do that first and drop the rest.", "Split the next step into two halves and finish the first half right away.", "Clear the rest of your day for this task and start with what blocks others."),
}  # fmt: skip
MICRO = {
    "low": ("You are close: finish the next small piece in the next few minutes.", "Keep going and close this small task in one sitting.", "Take ten quiet minutes and tick off the next piece.", "One short push now and this small task is done.", "Stay on it, the next piece takes only minutes."),
    "medium": ("Set a timer for 15 minutes and finish the next small piece.", "Close one small piece in the next 15 minutes, you can do this.", "Take the easiest open piece and finish it before your next break.", "Spend the next 20 minutes on this and nothing else.", "Finish one piece right now and the rest will feel lighter."),
    "high": ("Start this very minute and finish the next small piece in 10 minutes.", "Drop everything else for 10 minutes and close one small piece.", "Do the piece that others wait for within the next 10 minutes.", "Stop other work now and give this your next 15 minutes.", "Take one piece, finish it in 10 minutes, then take the next."),
}  # fmt: skip
BEGIN = (
    "Open the task now and do the first small step, you can do this.",
    "Start with the easiest step right now and tick it off.",
    "Begin with five minutes on the first step and see how far you get.",
    "Take the first step today, however small it is.",
    "Read the task once more and do the first thing on the list now.",
)
HAND_OVER = (
    "Hand the result in for review now, you have earned it.",
    "Ask for the review today so that this task can be closed.",
    "Show the result to your manager and close this task.",
    "Send the result today and enjoy that it is done.",
)
HELP = {
    "medium": ("If something blocks you, tell your manager today.", "Ask a teammate for help before the day ends if you are stuck.", "Send your manager a short note on what is still open.", "Talk to someone who did this before and save yourself an hour.", "Say early if the plan needs to change."),
    "high": ("Tell your manager now what is open and agree on a realistic time.", "Ask for help right away, a short call can save the day.", "Tell your team now which step is at risk and who can help.", "Ask a teammate to take one step off your list today.", "Call your manager now and agree on what can wait."),
}  # fmt: skip
BY_KIND = {
    "learn": ("Write down one thing you learned about {s} and one that is still unclear.", "Practise {s} on one small exercise instead of reading on.", "Explain one idea of {s} to a teammate in two minutes.", "Use {s} once in your own work today."),
    "soft": ("Practise {s} in your next meeting and note how it went.", "Ask one colleague for honest feedback on {s} today.", "Choose one talk today and keep {s} in mind.", "Write down one moment where {s} helped you."),
    "screen": ("Show the {s} to one person today and note what to change.", "Check the {s} on a phone before you go on.", "Compare the {s} with the draft and mend one thing.", "Let one user click through the {s} and watch in silence."),
    "build": ("Try the {s} with one real case today.", "Finish one path through the {s} before you begin another.", "Show the {s} to a teammate, even half done.", "Write down what the {s} must not do and test that."),
    "fix": ("Write down how to reproduce the fault before you change more.", "Test the fix once on the real page before you go on.", "Note what you ruled out so that nobody looks there again.", "Ask who saw the fault first and look at it together."),
    "document": ("Write the rough outline of the {s} first and polish it later.", "Let one reader check the {s} today.", "Finish one section of the {s} before you begin another.", "Read the {s} aloud once and cut what nobody needs."),
    "integrate": ("Try one real call to the {s} before you build more.", "Check the access keys and limits of the {s} first.", "Write down what the {s} answers when something is wrong.", "Keep one answer of the {s} as a sample to test with."),
    "migrate": ("Move a small sample of the {s} first and check it.", "Make a backup of the {s} before the next batch.", "Count the {s} before and after the next batch.", "Let an owner look at ten of the {s} that you moved."),
    "ai": ("Try the {s} on five hard cases and note where it fails.", "Measure the {s} once before you change more.", "Ask an expert to judge three answers of the {s}.", "Write down what a good answer of the {s} looks like."),
    "campaign": ("Call the person whose answer the {s} waits for.", "Write the next message about the {s} and send it today.", "Check date and place of the {s} once more.", "Ask one person what would bring them to the {s}."),
}  # fmt: skip
THIS = "this task"


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
    """What a good coach would say. How it is worded follows figures that the input shows: a choice by chance could not be learned."""
    return RiskOutput(risk_level=task.suggested, reasons=_reasons(task), recommended_actions=_actions(task, kind))


def _say(texts: Sequence[str], which: int) -> str:
    return texts[which % len(texts)]


def _reasons(task: RiskInput) -> list[str]:
    reasons = [f"{_time(task)}.", _progress(task)]
    if task.pace in {"behind", "far_behind"} and task.late:
        reasons.append(_say(LATE, task.steps_done).format(late=task.late))
    elif task.steps_left == 1:
        reasons.append(_say(ONE_OPEN, task.steps_done))
    elif task.steps_left and task.steps_done:
        reasons.append(_say(SOME_OPEN, task.steps_done).format(open=task.steps_left))
    elif task.left and task.milestone in {"50_percent", "75_percent"}:
        reasons.append(_say(TIME_LEFT, task.steps_left).format(left=task.left))
    return reasons


def _time(task: RiskInput) -> str:
    if task.milestone in TIME:
        return _say(TIME[task.milestone], task.steps_left)
    if task.pace == "unknown":
        return _say(NO_TIME, task.steps_left)
    if task.gone_percent >= 100:
        return _say(GONE, task.steps_left)
    return _say(START if task.gone_percent < 10 else USED, task.steps_left).format(gone=task.gone_percent)


def _progress(task: RiskInput) -> str:
    if task.done_percent == 0:
        return _say(NOTHING, task.steps_left)
    if task.done_percent == 100:
        return _say(EVERYTHING, task.steps_done)
    return _say(PROGRESS[task.pace], task.steps_done).format(done=task.done_percent)


def _actions(task: RiskInput, kind: str) -> list[str]:
    level, moment = task.suggested, MILESTONES.index(task.milestone)
    if task.done_percent == 100:
        return [_say(HAND_OVER, task.steps_done)]
    first = _say(BEGIN, moment) if task.done_percent == 0 else _say((MICRO if task.micro_task else KEEP)[level], moment)
    if level == "high" or (level == "medium" and kind not in BY_KIND):
        return [first, _say(HELP[level], task.steps_left)]
    return [first, _say(BY_KIND[kind], task.steps_left).format(s=subject_of(task.title) or THIS).replace("the this task", THIS)] if kind in BY_KIND else [first]
