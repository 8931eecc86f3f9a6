from __future__ import annotations

import numpy as np
import pytest

from nnunet_iac.reports.artefacts import read_results
from nnunet_iac.reports.scores import Scores, dice_by_case_data, dice_by_class_data, scores_data

NAN = float("nan")


def test_cases_are_paired_by_name_and_those_of_one_model_left_out(complete):
    ours = read_results(complete.model).folds[0]
    host = ours.host.validation
    assert ours.validation is not None and host is not None
    del ours.validation.dice["hippocampus_003"], host.dice["hippocampus_007"]
    scores = scores_data([ours], {"1": "Anterior"})
    assert scores is not None and scores.host is not None
    assert scores.left_out == ("hippocampus_003", "hippocampus_007") and len(scores.cases) == 10
    assert scores.ours[0, 0] == ours.validation.dice["hippocampus_000"]["1"]
    assert scores.host[0, 1] == host.dice["hippocampus_000"]["2"]


def test_classes_have_the_names_and_the_order_of_the_data_set(complete):
    scores = scores_data(read_results(complete.model).folds, {"2": "Posterior", "1": "Anterior"})
    assert scores is not None and scores.classes == ("Posterior", "Anterior")


def test_a_class_without_a_name_keeps_its_key(complete):
    scores = scores_data(read_results(complete.model).folds, {})
    assert scores is not None and scores.classes == ("class 1", "class 2")


def test_without_a_host_there_is_no_host_column(results):
    results.with_search(epochs=3).with_validation(host=False)
    scores = scores_data(read_results(results.model).folds, {})
    assert scores is not None and scores.host is None and len(scores.cases) == 12


def test_without_validation_there_are_no_scores(results):
    assert scores_data(read_results(results.with_search(epochs=3).model).folds, {}) is None


def test_means_by_class_leave_out_absent_classes():
    scores = Scores(("a", "b"), ("x", "y"), np.array([[0.5, NAN], [1.0, 0.25]]), None)
    assert dice_by_class_data(scores).ours.tolist() == [0.75, 0.25, 0.5]


def test_pairs_need_both_values():
    ours, host = np.array([[0.5], [NAN], [0.7]]), np.array([[0.4], [0.5], [NAN]])
    ((name, hosts, our),) = dice_by_case_data(Scores(("a",), ("x", "y", "z"), ours, host)).series
    assert (name, hosts.tolist(), our.tolist()) == ("a", [0.4], [0.5])


def test_many_classes_are_drawn_as_the_mean_of_each_case():
    table = np.full((3, 9), 0.5)
    scores = Scores(tuple("abcdefghi"), ("x", "y", "z"), table, table)
    assert [name for name, _, _ in dice_by_case_data(scores).series] == ["mean of classes"]


def test_pairs_without_a_host_are_refused():
    with pytest.raises(ValueError, match=r"scores\.host"):
        dice_by_case_data(Scores(("a",), ("x",), np.ones((1, 1)), None))
