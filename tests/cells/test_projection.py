"""`cell.projection`: however a projection starts, a fresh cell adds nothing, and it learns."""

from __future__ import annotations

import json
from itertools import permutations

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments, image
from torch import nn

from nnunet_iac.cells.cell import DiscreteCells, SkipCell
from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.inheritance import inherit
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.module_names import in_words
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.operations import Stage
from nnunet_iac.cells.warm_start import transfer_cells

PROJECTIONS = ("zero", "gain", "normalised")
OPENED = PROJECTIONS[1:]
STAGES = [Stage(channels, (3, 3), nn.InstanceNorm2d) for channels in (16, 32)]


def cells_of(projection: str, **options) -> DiscreteCells:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DiscreteCells(
            Genotype.random(seed=0, shape=CellShape(nodes=2, projection=projection), **options), STAGES
        )


def mixed(projection: str, seed: int = 0) -> MixedCells:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MixedCells(STAGES, CellShape(nodes=2, projection=projection), generator=torch.Generator().manual_seed(0))


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 16, 8, 8, generator=generator), torch.randn(2, 16, 8, 8, generator=generator)


def test_it_survives_json_and_the_default_record_is_as_ever():
    for projection in OPENED:
        genotype = Genotype.random(seed=1, shape=CellShape(projection=projection))
        assert genotype.to_dict()["projection"] == projection and genotype != Genotype.random(seed=1)
        assert Genotype.from_dict(json.loads(json.dumps(genotype.to_dict()))) == genotype
    assert "projection" not in Genotype.random(seed=1).to_dict()


@pytest.mark.parametrize("wrong", ["open", "", 0, None, ["zero"]])
def test_another_word_is_refused(wrong):
    with pytest.raises(ValueError, match=r"projection: expected one of \('zero', 'gain', 'normalised'\), got"):
        Genotype.from_dict({**Genotype.random(seed=1).to_dict(), "projection": wrong})
    with pytest.raises(ValueError, match="projection: expected 'zero' for kind 'identity'"):
        Genotype(kind="identity", projection="gain")


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_implanting_changes_no_logit(projection, backbone, dimension):
    arguments = host_arguments(backbone, dimension)
    host = CellUNet(BACKBONES[backbone], Genotype.identity(), **arguments).eval()
    host.apply(host.initialize)
    network = CellUNet(
        BACKBONES[backbone], Genotype.random(seed=0, shape=CellShape(projection=projection)), **arguments
    ).eval()
    network.apply(network.initialize)
    network.load_state_dict(host.state_dict(), strict=False)
    x = image(dimension)
    with torch.no_grad():
        for ours, stock in zip(network(x), host(x), strict=True):
            assert torch.equal(ours, stock)


@pytest.mark.parametrize("build", [cells_of, mixed])
@pytest.mark.parametrize("projection", OPENED)
def test_only_the_gain_is_zero_and_the_first_gradient_opens_it(projection, build):
    level = build(projection).levels[0]
    assert level.projection.weight.any() and not level.gain.any()
    skip, signal = pair()
    cells = build(projection)
    out = cells(0, skip, signal)
    assert torch.equal(out, skip)
    out.square().sum().backward()
    level = cells.levels[0]
    assert level.gain.grad.any() and not level.projection.weight.grad.any()
    with torch.no_grad():
        level.gain -= 1e-3 * level.gain.grad
    cells.zero_grad()
    cells(0, skip, signal).square().sum().backward()
    assert level.projection.weight.grad.any()


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_the_output_is_the_formula(projection):
    cells, (skip, signal) = cells_of(projection), pair()
    level = cells.levels[0]
    generator = torch.Generator().manual_seed(1)
    nn.init.normal_(level.projection.weight, generator=generator)
    if projection != "zero":
        nn.init.normal_(level.gain, generator=generator)
    nodes = torch.cat(level.body([level.inputs[0](signal), level.inputs[1](skip)]), dim=1)
    added = torch.einsum("oc,bchw->bohw", level.projection.weight.flatten(1), nodes)
    if projection == "normalised":
        mean, variance = added.mean((2, 3), keepdim=True), added.var((2, 3), correction=0, keepdim=True)
        added = (added - mean) / (variance + 1e-5).sqrt()
    if projection != "zero":
        added = level.gain.view(1, -1, 1, 1) * added
    assert torch.allclose(cells(0, skip, signal), skip + added, atol=1e-5)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_in_half_precision_the_output_is_half_too(projection):
    cells, (skip, signal) = cells_of(projection), pair()
    if projection != "zero":
        nn.init.ones_(cells.levels[0].gain)
    with torch.autocast("cpu", torch.bfloat16):
        assert cells(0, skip.bfloat16(), signal.bfloat16()).dtype == torch.bfloat16


def test_after_a_batch_normalisation_the_cell_is_closed_in_training_and_in_evaluation():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        genotype = Genotype.random(seed=0, shape=CellShape(projection="normalised"))
        cells = DiscreteCells(genotype, [Stage(16, (3, 3), nn.BatchNorm2d, {"affine": True})])
    skip, signal = pair()
    assert torch.equal(cells.train()(0, skip, signal), skip)
    assert torch.equal(cells.eval()(0, skip, signal), skip)
    assert cells.levels[0].normalise.running_mean.any(), "its statistics are kept like the host's"


def test_a_host_without_normalisation_gets_none_here_either():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cells = DiscreteCells(
            Genotype.random(seed=0, shape=CellShape(projection="normalised")), [Stage(16, (3, 3), None)]
        )
    assert isinstance(cells.levels[0].normalise, nn.Identity)


def test_the_default_has_the_keys_of_earlier_checkpoints():
    assert [name for name in cells_of("zero").state_dict() if "gain" in name or "normalise" in name] == []
    gained = set(cells_of("gain").state_dict()) - set(cells_of("zero").state_dict())
    assert (
        gained
        == {"levels.0.gain", "levels.1.gain"}
        == (set(cells_of("normalised").state_dict()) - set(cells_of("zero").state_dict()))
    )


def test_a_fault_in_the_gain_is_named():
    cells = cells_of("gain")
    assert in_words(cells, "levels.0.gain") == "cell of level 0, gain of the projection (levels.0.gain)"


@pytest.mark.parametrize(("before", "now"), permutations(PROJECTIONS, 2))
def test_a_warm_start_from_another_projection_leaves_it_fresh_and_closed(before, now):
    """Else a random projection would be added at full strength, or a trained one be lost behind a gain of zero."""
    source, target = mixed(before, seed=1), mixed(now)
    for level in source.levels:
        assert isinstance(level, SkipCell)
        nn.init.ones_(level.projection.weight)
        if level.gain is not None:
            nn.init.ones_(level.gain)
    fresh = target.levels[0].projection.weight.detach().clone()
    report = transfer_cells(target, source.state_dict(), same_projection=False)
    assert torch.equal(target.levels[0].projection.weight, fresh)
    assert torch.equal(target.levels[0].inputs[0][1].weight, source.levels[0].inputs[0][1].weight)
    skip, signal = pair()
    assert torch.equal(target(0, skip, signal), skip)
    if "zero" in (before, now):  # known from the tensors alone
        again = mixed(now)
        transfer_cells(again, source.state_dict())
        assert torch.equal(again.levels[0].projection.weight, fresh)
    reasons = {one.name: one.how for one in report.records if "projection" in one.name or "gain" in one.name}
    assert "the source had another projection" in reasons.values()


def test_a_warm_start_from_the_same_projection_takes_it():
    source, target = mixed("gain"), mixed("gain")
    nn.init.ones_(source.levels[0].gain)
    transfer_cells(target, source.state_dict())
    assert torch.equal(target.levels[0].gain, source.levels[0].gain)


@pytest.mark.parametrize("projection", OPENED)
def test_inherited_cells_stay_closed(projection):
    searched, found = mixed(projection), cells_of(projection)
    nn.init.ones_(searched.levels[0].gain)
    inherit(found, searched)
    assert not found.levels[0].gain.any()
    skip, signal = pair()
    assert torch.equal(found(0, skip, signal), skip)
