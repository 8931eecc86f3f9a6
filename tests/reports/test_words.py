from __future__ import annotations

import pytest

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports.artefacts import read_results
from nnunet_iac.reports.scores import scores_data
from nnunet_iac.reports.sections import build_report
from nnunet_iac.reports.words import dice_sentence, fold_sentences, has_cells, model_sentences, state_of, warnings_of


def told(results):
    read = read_results(results.model)
    return " ".join([*model_sentences(read), *(s for fold in read.folds for s in fold_sentences(fold))])


def test_a_decided_search_is_told_with_epochs_time_and_pruning(results):
    text = told(results.with_search(epochs=80))
    assert state_of(read_results(results.model)) == ("decided", "good")
    assert "The search decided: 14 of 14 edges" in text and "after 80 epochs" in text
    assert "Pruned: 98 of 112 operations" in text and "6 of them warm-up" in text
    assert "3 training cases trained weights and 2 others the architecture (split by patient" in text


def test_an_undecided_search_is_never_called_found(results):
    read = read_results(results.with_search(epochs=12, undecided=True).model)
    assert state_of(read) == ("undecided", "warn")
    assert any("UNDECIDED (0 of 14 edges decided)" in warning for warning in warnings_of(read))
    assert "Nothing was pruned" in told(results)


def test_plans_made_by_an_undecided_search_say_so_without_its_trace(results):
    genotype = {**Genotype.random(seed=0).to_dict(), "kind": "searched", "origin": {"status": "undecided"}}
    assert state_of(read_results(results.with_plans(genotype).model)) == ("undecided", "warn")


def test_a_running_search_is_told_with_what_was_left_out(results):
    results.with_search(epochs=9, ended=False, torn='{"torn')
    read = read_results(results.model)
    assert state_of(read) == ("search not finished", "busy")
    assert "still running, or was stopped" in told(results) and "epoch 8" in told(results)
    assert any("1 line of search.jsonl could not be read" in warning for warning in warnings_of(read))


def test_a_search_that_has_not_finished_an_epoch_is_told(results):
    results.with_search(epochs=0, ended=False)
    assert "has not finished an epoch" in told(results)


def test_a_host_in_training_is_told(results):
    results.with_plans(None).with_host_origin()
    assert state_of(read_results(results.model)) == ("before the search", "busy")
    assert "Host: trained here for 2 epochs." in told(results)


@pytest.mark.parametrize(
    ("genotype", "badge", "text"),
    [
        (Genotype.identity(), "identity control", "Nothing was searched"),
        (Genotype.random(seed=5), "random control", "drawn without a search (seed 5)"),
        (Genotype.random(seed=5, shape=CellShape(projection="gain")), "random control", "projection with a gain."),
    ],
)
def test_controls_are_called_controls(results, genotype, badge, text):
    read = read_results(results.with_plans(genotype.to_dict()).model)
    assert state_of(read) == (badge, "plain")
    assert text in " ".join(model_sentences(read))


def baseline(results, folder, network="nnunet_iac.baselines.attention.AttentionUNet"):
    """A model folder whose host is in training, as a baseline leaves it."""
    architecture = {"network_class_name": network}
    results.with_json(f"{folder}/plans.json", {"configurations": {"2d": {"architecture": architecture}}})
    results.with_json(f"{folder}/fold_0/host.json", {"checkpoint": None, "message": "trained here"})
    return read_results(results.root / folder)


@pytest.mark.parametrize("trainer", ["nnUNetTrainerAttentionSkips", "nnUNetTrainerDenseSkips"])
def test_of_a_baseline_it_is_said_that_nothing_is_searched(results, trainer):
    read = baseline(results, f"Dataset004_Hippocampus/{trainer}__nnUNetPlans__2d")
    assert state_of(read) == (f"baseline: {trainer}, nothing is searched", "plain")
    assert model_sentences(read) == ("Baseline: nothing is searched; the skip connections are those of AttentionUNet.",)


def test_a_baseline_in_a_renamed_folder_is_known_by_its_network(results):
    assert state_of(baseline(results, "renamed"))[0] == "baseline: AttentionUNet, nothing is searched"


@pytest.mark.parametrize("trainer", ["nnUNetTrainer", "nnUNetTrainerIACHost", "nnUNetTrainerPretrainedEncoder"])
def test_a_host_alone_waits_for_no_search(results, trainer):
    read = baseline(
        results,
        f"Dataset004_Hippocampus/{trainer}__nnUNetPlans__2d",
        network="dynamic_network_architectures.architectures.unet.PlainConvUNet",
    )
    assert state_of(read) == ("host alone, nothing is searched", "plain") and not has_cells(read)
    assert model_sentences(read) == (
        "Host alone: the network is the stock nnU-Net, without cells; nothing is searched.",
    )
    assert build_report(read).title == "Training of Dataset004_Hippocampus"


def test_a_network_of_cells_is_no_baseline(results):
    read = baseline(results, "renamed", network="nnunet_iac.cells.network.CellUNet")
    assert state_of(read)[0] == "before the search" and "cells are still open" in model_sentences(read)[0]


def test_folds_that_reuse_a_genotype_are_warned_about(complete):
    complete.with_validation(1)
    warnings = warnings_of(read_results(complete.model))
    assert any("reuse the genotype" in warning and "(1)" in warning for warning in warnings)


def test_another_genotype_than_the_plans_hold_is_warned_about(results):
    results.with_plans(Genotype.random(seed=8).to_dict()).with_search(epochs=8)
    assert any("another genotype than plans.json" in warning for warning in warnings_of(read_results(results.model)))


def test_dice_is_told_with_both_means(complete):
    scores = scores_data(read_results(complete.model).folds, {})
    assert scores is not None
    assert "for the host (+0.021) over 12 cases: better in 12, worse in 0." in dice_sentence(scores)
