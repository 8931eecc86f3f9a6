from __future__ import annotations

import pytest

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports.artefacts import read_results


def test_a_model_folder_gives_its_folds_in_order(complete):
    complete.with_search(10, epochs=3).with_search(2, epochs=3)
    assert [fold.number for fold in read_results(complete.model).folds] == ["0", "2", "10"]


def test_a_fold_folder_gives_itself_and_the_genotype_of_its_model(complete):
    complete.with_search(1, epochs=3)
    read = read_results(complete.fold(1))
    assert [fold.number for fold in read.folds] == ["1"]
    assert read.genotype == read_results(complete.model).genotype


def test_fold_picks_one(complete):
    complete.with_search(1, epochs=3)
    assert [fold.number for fold in read_results(complete.model, "1").folds] == ["1"]


@pytest.mark.parametrize("fold", ["7", "all"])
def test_a_fold_that_is_not_there_is_refused_with_those_that_are(complete, fold):
    with pytest.raises(FileNotFoundError, match=r"expected one of \['0'\]"):
        read_results(complete.model, fold)


def test_another_fold_than_the_given_folder_is_refused(complete):
    with pytest.raises(FileNotFoundError, match="--fold"):
        read_results(complete.fold(0), "1")


def test_a_copied_fold_folder_needs_no_name(results, simulate):
    results.with_search(epochs=4)
    copied = results.fold().rename(results.root / "copied")
    read = read_results(copied)
    assert read.folds[0].trace is not None and read.genotype is not None


def test_a_genotype_alone_is_enough(results):
    read = read_results(results.with_plans(Genotype.identity().to_dict()).model)
    assert read.folds == () and read.genotype == Genotype.identity()


def test_a_run_that_still_trains_its_host_is_known(results):
    read = read_results(results.with_plans(None).with_host_origin().model)
    assert read.genotype is None and read.folds[0].host_origin is not None


def test_half_a_training_curve_is_left_out(complete):
    (complete.fold() / "progress.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    assert read_results(complete.model).folds[0].progress is None


def test_a_stock_model_is_refused_in_words(results):
    results.with_plans(None).with_validation(host=False)
    with pytest.raises(FileNotFoundError, match=r"search\.jsonl.*PlainConvUNet without a genotype.*nnUNetTrainerIAC"):
        read_results(results.model)


def test_a_folder_of_models_names_them(complete):
    with pytest.raises(FileNotFoundError, match=r"name one of them: .*nnUNetTrainerIAC__nnUNetPlans_iac__2d"):
        read_results(complete.model.parent)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="RESULTS_FOLDER: expected an existing folder"):
        read_results(tmp_path / "none")
