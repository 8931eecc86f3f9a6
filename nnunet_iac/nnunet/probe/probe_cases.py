"""Which of a fold's training cases a probe trains on, and which it holds out."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nnunet_iac.nnunet.files.splits import GROUPS, Grouping, split_patients

HELD_OUT_SEED = 0
"""Of the draw of the held-out patients: the same for all arms and seeds."""


def draw_cases(
    cases: Sequence[str], grouping: Grouping, *, share: float, most: int | None
) -> tuple[list[str], list[str]]:
    """Return the cases to train on and those held out, of other patients.

    Where patients are not known but the folds of a split keep cases together, a whole group is taken from the training
    as before; of its cases, each counted as a patient, ``most`` are predicted and the others are not used at all: they
    may be of a patient that is held out.

    Args:
        cases: the fold's training cases.
        grouping: who is whose patient.
        share: of the patients that are held out.
        most: patients that are held out at most, each of which every training predicts; None for no limit.

    Raises:
        ValueError: if there is one patient only.

    Example:
        >>> training, held_out = draw_cases([*"abcdefghij"], Grouping({c: c for c in "abcdefghij"}, None),
        ...                                 share=0.5, most=2)
        >>> len(training), len(held_out)
        (8, 2)
    """
    groups = len(grouping.patients(cases))
    fraction = share if most is None else min(share, most / max(1, groups))
    training, held_out = split_patients(cases, grouping, fraction=fraction, seed=HELD_OUT_SEED)
    if most is not None and count_patients(held_out, grouping) > most:
        held_out = sorted(random.Random(HELD_OUT_SEED).sample(held_out, most))
    return training, held_out


def count_patients(cases: Sequence[str], grouping: Grouping) -> int:
    """Return how many patients a measurement will see: the folds of a split keep cases together, but are none."""
    known = grouping.source is not None and grouping.source.startswith(GROUPS)
    return len(grouping.patients(cases)) if known else len(cases)
