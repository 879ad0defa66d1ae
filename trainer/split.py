"""Owns who sees what: no training example is about a held-out subject.

Knows nothing of examples. The starter pass only; the data issue's splits go by organisation, task and cluster.
"""

from dataclasses import replace

from trainer.task_titles import Kind

HELD_OUT_EVERY = 5
"""Each fifth subject of a kind is held out (20 %)."""


def split_kinds(kinds: tuple[Kind, ...]) -> tuple[tuple[Kind, ...], tuple[Kind, ...]]:
    """The same kinds of work with disjoint subjects: for training, and held out for tests."""
    train = tuple(replace(kind, subjects=_training(kind.subjects), beside=_training(kind.beside)) for kind in kinds)
    held_out = tuple(replace(kind, subjects=_held_out(kind.subjects), beside=_held_out(kind.beside)) for kind in kinds)
    return train, held_out


def _training(subjects: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(subject for i, subject in enumerate(subjects) if i % HELD_OUT_EVERY)


def _held_out(subjects: tuple[str, ...]) -> tuple[str, ...]:
    return subjects[::HELD_OUT_EVERY]
