"""Other data sets as a task: in turn, in the target's shape, with labels, regions and voxels to ignore."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert3DTo2DTransform
from nnunet_folders import DATASET, Folders
from prepared_datasets import CASES, LABELS, REGIONS, tiny_plans, write_prepared

from nnunet_iac.nnunet.cases.image_samples import prepared_data
from nnunet_iac.nnunet.files.weights import build_network, weight_target
from nnunet_iac.nnunet.pretraining.pretraining_datasets import SegmentationSources

OTHER = "Dataset991_Other"
CONTENT = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "file_ending": ".png"}


def sources(*names: str, channels: int = 1, seed: int = 0, configuration: str = "2d") -> SegmentationSources:
    found = [prepared_data(name, configuration) for name in names]
    return SegmentationSources(found, channels, batch_size=2, seed=seed)


@pytest.fixture
def two(folders: Folders, stock_plans: dict[str, Any]) -> SegmentationSources:
    """A data set of six cases of intensity near 0, and one of two cases of intensity 50 in three channels."""
    write_prepared(folders, stock_plans)
    write_prepared(
        folders, stock_plans, OTHER, channels=("R", "G", "B"), cases=CASES[:2], values=dict.fromkeys(CASES, 50.0)
    )
    return sources(DATASET, OTHER)


def test_every_data_set_has_every_nth_batch_however_many_cases_it_has(two: SegmentationSources) -> None:
    batches = [two.batch(index) for index in range(6)]

    assert [number for number, _, _ in batches] == [0, 1, 0, 1, 0, 1]
    assert [bool(images.max() > 20) for _, images, _ in batches] == [False, True] * 3
    assert len({images.sum().item() for _, images, _ in batches[::2]}) == 3


def test_batches_are_a_function_of_seed_and_index(two: SegmentationSources) -> None:
    expected = {index: two.batch(index) for index in range(4)}
    again, other = sources(DATASET, OTHER), sources(DATASET, OTHER, seed=1)

    for index in (3, 0, 2, 1):
        for found, wanted in zip(again.batch(index), expected[index], strict=True):
            assert found == wanted if isinstance(wanted, int) else torch.equal(found, wanted)
        assert not torch.equal(other.batch(index)[1], expected[index][1])


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_batches_have_the_targets_channels_and_patch(two: SegmentationSources, channels: int) -> None:
    two.channels = channels

    for index in range(2):
        _, images, target = two.batch(index)
        assert images.shape == (2, channels, 16, 16) and target.shape == (2, 1, 16, 16)


def test_labels_are_those_of_the_maps(two: SegmentationSources) -> None:
    seen = torch.cat([two.batch(index)[2] for index in range(12)])

    assert seen.unique().tolist() == [0, 1, 2], "nnU-Net's -1 outside of the image is background"
    assert [head.out_channels for head in two.heads(16, 4)] == [3, 3]


def test_regions_are_learnt_as_labels(folders: Folders, stock_plans: dict[str, Any]) -> None:
    write_prepared(folders, stock_plans, labels=REGIONS)
    task = sources(DATASET)
    network: Any = build_network(weight_target(tiny_plans(stock_plans), "2d", CONTENT))
    network.decoder.seg_layers[-1] = torch.nn.Identity()
    heads = task.heads(16, 4)

    batches = [task.batch(index) for index in range(6)]

    assert torch.cat([target for _, _, target in batches]).unique().tolist() == [0, 1, 2]
    assert heads[0].out_channels == 3
    loss = task.loss(network, list(heads), batches[0])
    loss.backward()
    assert loss.isfinite() and all(w.grad is not None for w in network.encoder.parameters())


def test_voxels_to_ignore_do_not_count(folders: Folders, stock_plans: dict[str, Any]) -> None:
    write_prepared(folders, stock_plans, labels={**LABELS, "ignore": 3})
    task = sources(DATASET)
    batches = [task.batch(index) for index in range(8)]
    _, images, target = next(batch for batch in batches if {1, 3} <= set(batch[2].unique().tolist()))
    ignored = (target == 3).expand(-1, 3, -1, -1)
    logits = torch.randn(2, 3, 16, 16, requires_grad=True)

    loss = task.loss(lambda _: logits, [torch.nn.Identity()], (0, images, target))  # type: ignore[arg-type, list-item]
    loss.backward()

    assert task.heads(16, 4)[0].out_channels == 3, "the label to ignore is no class"
    assert loss.isfinite() and not logits.grad[ignored].any() and logits.grad[~ignored].any()


@pytest.mark.parametrize(("patch", "flat"), [((4, 16, 16), True), ((16, 16, 16), False)])
def test_thick_slices_are_not_rotated_out_of_their_plane(
    folders: Folders, stock_plans: dict[str, Any], patch: tuple[int, ...], flat: bool
) -> None:
    write_prepared(folders, stock_plans, configuration="3d_fullres")
    task = SegmentationSources([prepared_data(DATASET, "3d_fullres", patch_size=patch)], 1, 2, 0)

    _, images, target = task.batch(0)

    assert images.shape == (2, 1, *patch) and target.shape == (2, 1, *patch)
    first = task._loaders[0].transforms.transforms[0]
    assert isinstance(first, Convert3DTo2DTransform) == flat
    assert isinstance(task.heads(16, 4)[0], torch.nn.Conv3d)


def test_patches_are_read_with_a_margin_for_rotations(two: SegmentationSources) -> None:
    assert tuple(two._loaders[0].patch_size[1:]) > (16, 16) == tuple(two._loaders[0].final_patch_size[1:])


def test_descriptions_name_what_must_stay(two: SegmentationSources) -> None:
    assert two.description == {
        "datasets": {DATASET: 6, OTHER: 2},
        "plans": ["nnUNetPlans", "nnUNetPlans"],
        "patch_size": [16, 16],
        "batch_size": 2,
    }


@pytest.mark.parametrize("names", [(), (DATASET, "990")])
def test_no_source_or_one_twice_is_refused(two: SegmentationSources, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"--datasets: expected at least one, each once, got \["):
        sources(*names)
