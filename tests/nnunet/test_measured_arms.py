"""Arms measured together: folds of several folders are one run, seeds are runs, and the numbers are known ones."""

from __future__ import annotations

import pytest
from nnunet_folders import Folders
from prediction_folders import PATIENTS, write_dataset, write_model

from nnunet_iac.nnunet.measured_arms import measure_arms
from nnunet_iac.nnunet.predictions import Arm, Predictions

HALVES = (["p0_a", "p0_b", "p1_a", "p1_b"], ["p2_a", "p2_b", "p3_a", "p3_b"])


def run(folders: Folders, name: str, shift: int) -> Predictions:
    """Two folds, each in a model folder of its own."""
    folds = [write_model(folders, f"{name}{n}", shift, fold=n, cases=cases) for n, cases in enumerate(HALVES)]
    return Predictions(folds[0].parent, name, tuple(fold / "validation" for fold in folds))


def test_folds_are_joined_and_seeds_averaged(folders: Folders) -> None:
    write_dataset(folders)
    right, *shifted = (run(folders, name, shift) for name, shift in (("Right", 0), ("One", 1), ("Three", 3)))

    measured = measure_arms([Arm("a", (right,)), Arm("b", tuple(shifted))])
    scores = measured.scores({"b": "cells", "a": "host"})

    assert (scores.arms, scores.patients, measured.unit) == (("cells", "host"), tuple(PATIENTS), "mm")
    # One voxel is 2 mm: 2 and 6 mm in the two runs.
    assert scores.run_means["hd95"] == ((2.0, 6.0), (0.0,))
    assert scores.paired("hd95").tolist() == [[4.0] * 4, [0.0] * 4]


def test_an_arm_that_lacks_a_fold_is_refused(folders: Folders) -> None:
    write_dataset(folders)
    whole = run(folders, "Whole", 0)
    half = Predictions(whole.home, "half", whole.folders[:1])

    with pytest.raises(ValueError, match="p2: no p2_a in half"):
        measure_arms([Arm("whole", (whole,)), Arm("half", (half,))])
