"""All bad inputs, each with a name of its own; every kind is made by the module that is named after it."""

from __future__ import annotations

import random

from bad_input_cases import Case
from bad_input_checkpoints import checkpoint_cases, state_cases, trainer_cases
from bad_input_images import image_cases, prepared_cases
from bad_input_text import text_cases
from bad_input_zoos import archive_cases, zoo_cases


def catalogue(draw: random.Random) -> list[Case]:
    """Return all cases, each with another name."""
    cases = [
        *text_cases(draw),
        *checkpoint_cases(draw),
        *state_cases(draw),
        *zoo_cases(draw),
        *archive_cases(),
        *image_cases(),
        *prepared_cases(draw),
        *trainer_cases(draw),
    ]
    if len({(case.kind, case.name) for case in cases}) < len(cases):
        raise ValueError("catalogue: expected each name once")
    return cases
