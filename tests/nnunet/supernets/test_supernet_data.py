"""The data of a build: who trains, who measures, nnU-Net's loss and batches; classes, regions, ignored voxels, 3D."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_folders import DATASET, Folders
from nnunetv2.run.run_training import get_trainer_from_args
from prepared_datasets import CASES, LABELS, REGIONS, write_json, write_prepared

from nnunet_iac.nnunet.cases.image_samples import PreparedData, sample_batches
from nnunet_iac.nnunet.files.weights import build_network
from nnunet_iac.nnunet.supernets import supernet_build, supernet_entries, supernet_measure
from nnunet_iac.nnunet.supernets.supernet_build import BuildPlan, SupernetBuild, fresh_supernet
from nnunet_iac.nnunet.supernets.supernet_data import supernet_data
from nnunet_iac.nnunet.supernets.supernet_measure import PatchMeasure
from nnunet_iac.similarity.labelled_features import LabelledFeatures
from nnunet_iac.zoo.entry import entry_of
from nnunet_iac.zoo.subnetwork import extract

CPU = torch.device("cpu")
KINDS: dict[str, Any] = {
    "classes": LABELS,
    "regions": REGIONS,
    "ignored": LABELS | {"ignore": 3},
    "regions, ignored": REGIONS | {"ignore": 3},
}


@pytest.fixture
def data_of(folders: Folders, stock_plans: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")

    def make(labels: Any = LABELS, configuration: str = "2d", **more: Any) -> Any:
        base = write_prepared(folders, stock_plans, labels=labels, configuration=configuration)
        write_json(base / "splits_final.json", [{"train": CASES[:5], "val": CASES[5:]}])
        return supernet_data("990", configuration, **more)

    return make


def test_parts_are_disjoint_training_cases_of_the_fold(data_of: Any) -> None:
    data = data_of(share=0.4)
    assert len(data.selection.cases) == 2 and len(data.training.cases) == 3
    assert sorted(data.selection.cases + data.training.cases) == CASES[:5]
    assert data.patients is not None and "case" not in str(data.identity["selection_cases"]).lower()


def test_patients_stay_together(data_of: Any, folders: Folders) -> None:
    data_of()
    write_json(folders.preprocessed / "patient_groups.json", {"a": CASES[:2], "b": CASES[2:4], "c": CASES[4:]})
    data = supernet_data("990", "2d", share=0.3)
    assert data.selection.cases in (tuple(CASES[:2]), tuple(CASES[2:4]), (CASES[4],))


@pytest.mark.parametrize("kind", ["classes", "regions, ignored"])
def test_loss_and_batches_are_nnunets(data_of: Any, kind: str) -> None:
    data = data_of(KINDS[kind])
    trainer: Any = get_trainer_from_args(DATASET, "2d", 0, "nnUNetTrainer", "nnUNetPlans", False, CPU)
    trainer.initialize()
    batch, later = (next(data.batches(seed=1, start=start, device=CPU)) for start in (0, 1))

    outputs = [torch.randn(2, data.target.outputs, *t.shape[2:]) for t in batch["target"]]
    ours, theirs = data.loss(deep_supervision=True)(outputs, batch["target"]), trainer.loss(outputs, batch["target"])

    assert float(ours) == float(theirs) and math.isfinite(float(ours))
    assert batch["data"].shape == (2, 1, 16, 16) and [t.shape[-1] for t in batch["target"]] == [16, 8]
    assert torch.equal(batch["data"], next(data.batches(seed=1, start=0, device=CPU))["data"])
    assert not torch.equal(batch["data"], later["data"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_a_network_is_measured_for_every_kind_of_label(data_of: Any, kind: str, configuration: str) -> None:
    data = data_of(KINDS[kind], configuration)
    network = fresh_supernet(data.target, 2, 0)
    measure = PatchMeasure(data, 6, 0, CPU)

    first = measure(network)

    assert 0 <= first.dice < 1 and first.loss > 0 and measure(network) == first
    assert PatchMeasure(data, 6, 1, CPU)(network) != first, "other patches"
    assert len(data.foreground) == 2 and data.ignored == (3 if "ignored" in kind else None)


def test_the_answer_itself_has_dice_1(data_of: Any) -> None:
    data = data_of(KINDS["regions, ignored"])

    class Perfect(torch.nn.Module):
        decoder = torch.nn.Module()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.answers.pop(0)

    network, measure = Perfect(), PatchMeasure(data, 4, 0, CPU)
    maps = [maps for _, maps in measure._patches()]
    network.answers = [torch.stack([(m == 1) | (m == 2), m == 2], 1).float() * 20 - 10 for m in maps]
    assert measure(network).dice == 1


@pytest.fixture
def normalised(data_of: Any, stock_plans: dict[str, Any]) -> Any:
    """The data for networks with batch normalisation."""
    arguments = stock_plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    arguments.update(norm_op="torch.nn.modules.batchnorm.BatchNorm2d", norm_op_kwargs={"eps": 1e-5, "affine": True})
    return data_of(share=0.4)


def test_batch_normalisation_is_calibrated_on_the_supernet_part_before_a_network_is_measured(
    normalised: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[tuple[str, ...], int]] = []
    sample = supernet_measure.sample_batches

    def record(data: PreparedData, *, count: int, **more: Any) -> Any:
        drawn.append((data.cases, count))
        return sample(data, count=count, **more)

    monkeypatch.setattr(supernet_measure, "sample_batches", record)
    monkeypatch.setattr(supernet_measure, "RECALIBRATION", 8)
    network, measure = fresh_supernet(normalised.target, 2, 0), PatchMeasure(normalised, 4, 0, CPU)

    first = measure(network)

    assert drawn == [(normalised.training.cases, 8), (normalised.selection.cases, 4)]
    for name, statistic in network.named_buffers():
        if name.endswith("running_mean"):
            statistic += 100  # as if they were those of another network
    assert measure(network) == first


def test_a_data_set_is_described_by_the_supernet_part(
    data_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[PreparedData] = []

    def look(data: PreparedData, **_: Any) -> LabelledFeatures:
        looked.append(data)
        return LabelledFeatures(np.zeros((1, 2)), np.ones(1, dtype=np.int64), {1: "shell"})

    monkeypatch.setattr(supernet_build, "region_features", look)
    data = data_of(share=0.4)

    SupernetBuild(data, BuildPlan(multiple=2, candidates=2), tmp_path, CPU).describe_data()

    assert [one.cases for one in looked] == [data.training.cases]


def test_a_network_from_the_zoo_is_calibrated_at_home_on_training_cases_of_its_fold(
    normalised: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[PreparedData] = []
    monkeypatch.setattr(supernet_entries, "recalibrate_on", lambda _, data, seed: looked.append(data))
    build = SupernetBuild(normalised, BuildPlan(multiple=2, candidates=2), tmp_path, CPU)
    about = supernet_entries.describe(build, "supernet", facts={"data": normalised.identity})
    entry = entry_of(about, weights="0" * 64, weights_bytes=0, parameters=0)

    supernet_entries.recalibrate_at_home(entry, extract(build.supernet, build.supernet.space.smallest).network)

    assert [sorted(data.cases) for data in looked] == [CASES[:5]]


class Threshold(torch.nn.Module):
    """Answers a class by the grey value alone."""

    decoder = torch.nn.Module()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(images, 0.7), images, 2 * images - 1.5], 1)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_dice_counts_voxels_over_all_patches_however_they_are_put_into_batches(data_of: Any, batch_size: int) -> None:
    data = data_of(batch_size=batch_size, share=0.4)
    images, maps = next(sample_batches(data.selection, count=5, batch_size=5, seed=0))
    answer = Threshold()(images).argmax(1)

    def dice(answer: torch.Tensor, maps: torch.Tensor) -> float:
        both = [2 * ((answer == k) & (maps == k)).sum() / ((answer == k).sum() + (maps == k).sum()) for k in (1, 2)]
        return float(sum(both) / 2)

    assert PatchMeasure(data, 5, 0, CPU)(Threshold()).dice == pytest.approx(dice(answer, maps))
    single = [dice(one, two) for one, two in zip(answer, maps, strict=True)]
    assert dice(answer, maps) != pytest.approx(sum(single) / 5, abs=1e-3), "the patches differ"


def test_the_loss_is_the_mean_over_patches_also_where_the_last_batch_has_fewer(data_of: Any) -> None:
    data = data_of(batch_size=2)
    loss = data.loss(deep_supervision=False)
    batches = sample_batches(data.selection, count=5, batch_size=2, seed=0)
    terms = [(len(images), float(loss(Threshold()(images), maps[:, None]))) for images, maps in batches]

    found = PatchMeasure(data, 5, 0, CPU)(Threshold()).loss

    assert [count for count, _ in terms] == [2, 2, 1]
    assert found == pytest.approx(sum(count * value for count, value in terms) / 5)
    assert found != pytest.approx(sum(value for _, value in terms) / 3), "the batches differ"


def test_a_fresh_supernet_is_what_nnunet_builds(data_of: Any) -> None:
    target = data_of().target
    ours, theirs = fresh_supernet(target, 2, 5).state_dict(), build_network(target, 5).state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_size": (10, 16)}, r"patch size: expected 2 numbers, multiples of \[4, 4\]"),
        ({"patch_size": (16,)}, "patch size: expected 2 positive numbers"),
        ({"batch_size": 0}, "--batch-size, --share: expected at least 1"),
        ({"share": 1.0}, "--batch-size, --share: expected at least 1 and a number between 0 and 1, got 2 and 1.0"),
        ({"fold": 1}, "-f: expected a fold from 0 to 0, got 1"),
        ({"plans_name": "none"}, r"plans in that folder: \['nnUNetPlans'\]"),
    ],
)
def test_bad_arguments_are_refused(data_of: Any, arguments: dict[str, Any], message: str) -> None:
    data_of()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        supernet_data("990", "2d", **arguments)
