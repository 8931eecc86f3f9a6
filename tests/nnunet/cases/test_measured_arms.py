"""Arms measured together: folds of several folders are one run, seeds are runs, and the numbers are known ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from nnunet_folders import Folders
from prediction_folders import PATIENTS, write_dataset, write_model

from nnunet_iac.nnunet.cases.measured_arms import common_folds, measure_arms
from nnunet_iac.nnunet.cases.predictions import Arm, Predictions

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


def test_folds_of_a_cross_validation_are_known_where_all_runs_have_the_same(folders: Folders) -> None:
    write_dataset(folders)
    one, other = run(folders, "One", 0), run(folders, "Other", 1)
    whole = Predictions.at(write_model(folders, "Whole", 1))

    both = measure_arms([Arm("a", (one,)), Arm("b", (other,))])
    assert both.folds == {"p0": 0, "p1": 0, "p2": 1, "p3": 1}
    scores = both.scores({"a": "a", "b": "b"})
    assert scores.folds is not None and scores.folds.tolist() == [0, 0, 1, 1]
    assert measure_arms([Arm("a", (one,)), Arm("b", (whole,))]).folds is None
    assert measure_arms([Arm("a", (whole,)), Arm("b", (whole,))]).folds is None


def test_patients_who_are_split_over_folds_make_no_folds() -> None:
    masks = {case: Path(f"fold_{number}") / case for number, case in enumerate(["p0_a", "p0_b", "p1_a"])}
    assert common_folds([masks], {"p0": ["p0_a", "p0_b"], "p1": ["p1_a"]}) is None
    assert common_folds([masks], {"p0": ["p0_a"], "p1": ["p1_a"]}) == {"p0": 0, "p1": 1}
