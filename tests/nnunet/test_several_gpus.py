"""-num_gpus above 1: the search is refused, and no rank waits for another's lock."""

from __future__ import annotations

import pytest
from nnunet_folders import Folders
from tiny_dataset import make_trainer


@pytest.mark.parametrize("trainer", ["nnUNetTrainerIAC", "nnUNetTrainerIACSearch", "nnUNetTrainerIACRandom"])
def test_looking_for_cells_on_several_gpus_is_refused(tiny: Folders, trainer: str) -> None:
    built = make_trainer(trainer)
    built.is_ddp = True

    with pytest.raises(NotImplementedError, match="-num_gpus: expected 1"):
        built.initialize()


def test_only_the_first_rank_takes_locks(tiny: Folders) -> None:
    # nnU-Net's barrier lies inside: a second rank that waits for the first one's lock would wait for ever.
    second = make_trainer("nnUNetTrainerIAC")
    second.local_rank = 1
    first = make_trainer("nnUNetTrainerIAC")
    with first._locked("plans.lock", "first"), second._locked("plans.lock", "second"):
        assert (tiny.results / "nnUNetTrainerIAC__tiny__2d" / "plans.lock").exists()
