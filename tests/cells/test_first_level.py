"""`first_level`: skips above it are the host's bit for bit, all else is as with cells everywhere."""

from __future__ import annotations

import json
import math

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments, image
from torch import nn

from nnunet_iac.cells.cell import DiscreteCells, HostSkip, SkipCell
from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.inheritance import inherit
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.operations import Stage
from nnunet_iac.cells.warm_start import start_architecture, transfer_cells
from nnunet_iac.reports.names import level_name

STAGES = [Stage(channels, (3, 3), nn.InstanceNorm2d) for channels in (16, 32, 64)]


def network(genotype: Genotype) -> CellUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = CellUNet(BACKBONES["plain"], genotype, **host_arguments("plain", 2, (8, 16, 32, 32)))
        built.apply(built.initialize)
    return built


def mixed(seed: int = 0, shared: bool = True, **shape) -> MixedCells:
    generator = torch.Generator().manual_seed(seed)
    cells = MixedCells(STAGES, CellShape(**{"nodes": 2, **shape}), shared=shared, generator=generator)
    for level in cells.levels:
        if isinstance(level, SkipCell):
            nn.init.normal_(level.projection.weight, generator=torch.Generator().manual_seed(1))
    return cells


def test_it_survives_json_and_at_full_resolution_the_record_is_as_ever():
    deeper = Genotype.random(seed=1, shape=CellShape(first_level=1))
    assert deeper.to_dict()["first_level"] == 1 and deeper != Genotype.random(seed=1)
    assert Genotype.from_dict(json.loads(json.dumps(deeper.to_dict()))) == deeper
    assert "first_level" not in Genotype.random(seed=1).to_dict()


@pytest.mark.parametrize("wrong", [-1, 17, 1.0, True, "1", None])
def test_a_level_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=r"first_level: expected an integer from 0 to 16"):
        Genotype.from_dict({**Genotype.random(seed=1).to_dict(), "first_level": wrong})


def test_a_network_without_a_level_for_a_cell_is_refused():
    for build in (
        lambda: DiscreteCells(Genotype.random(seed=0, shape=CellShape(first_level=3)), STAGES),
        lambda: MixedCells(STAGES, CellShape(first_level=3)),
    ):
        with pytest.raises(ValueError, match=r"at most 2, since the plan has 3 .* got 3; set cell.first_level"):
            build()
    with pytest.raises(ValueError, match="first_level: expected 0 for kind 'identity'"):
        Genotype(kind="identity", first_level=1)


def test_own_cells_are_counted_from_it():
    genotype = Genotype.random(seed=0, count=2, shape=CellShape(first_level=1))
    genotype.check_levels(3)
    assert [genotype.cell(1), genotype.cell(2)] == list(genotype.cells)
    with pytest.raises(IndexError, match="level: expected at least 1, the first with a cell, got 0"):
        genotype.cell(0)
    with pytest.raises(ValueError, match=r"or 3 cells, one for each skip .* from level 1 on, got 2"):
        genotype.check_levels(4)


def test_skips_above_it_are_the_hosts_and_those_below_have_the_cells_they_would_have():
    everywhere, deeper = (
        DiscreteCells(Genotype.random(seed=0, shape=CellShape(first_level=first)), STAGES) for first in (0, 1)
    )
    deeper.load_state_dict({k: v for k, v in everywhere.state_dict().items() if not k.startswith("levels.0.")})
    for cells in (everywhere, deeper):
        for level in cells.levels:
            if isinstance(level, SkipCell):
                nn.init.ones_(level.projection.weight)
    for level, stage in enumerate(STAGES):
        skip, signal = torch.randn(2, 1, stage.channels, 6, 6)
        found = deeper(level, skip, signal)
        assert torch.equal(found, skip if level == 0 else everywhere(level, skip, signal))
    assert isinstance(deeper.levels[0], HostSkip) and not list(deeper.levels[0].parameters())


def test_a_network_has_no_weights_of_cells_above_it_and_the_hosts_logits():
    genotype = Genotype.random(seed=0, shape=CellShape(first_level=2))
    found, host = network(genotype), network(Genotype.identity())
    names = {name.split(".")[2] for name in found.state_dict() if name.startswith("cells.levels.")}
    assert names == {"2"}
    found.load_state_dict(host.state_dict(), strict=False)
    x = image(2)
    assert all(torch.equal(a, b) for a, b in zip(found(x), host(x), strict=True))


@pytest.mark.parametrize("shared", [True, False])
def test_mixed_cells_learn_below_it_alone(shared):
    cells = mixed(shared=shared, first_level=1)
    assert len(cells.architecture.alpha) == (1 if shared else 2)
    total = torch.zeros(())
    for level, stage in enumerate(STAGES):
        skip, signal = torch.randn(2, 1, stage.channels, 6, 6)
        found = cells(level, skip, signal)
        assert torch.equal(found, skip) == (level == 0)
        total = total + found.square().sum()
    total.backward()
    assert all(group.abs().sum() > 0 for group in cells.architecture.alpha.grad)


def test_every_level_reads_its_own_group():
    cells = mixed(shared=False, first_level=1)
    inputs = [torch.randn(2, 1, stage.channels, 6, 6) for stage in STAGES]
    before = [cells(level, *pair) for level, pair in enumerate(inputs)]
    cells.architecture.alpha.data[1, 0, 3] += 3.0
    after = [cells(level, *pair) for level, pair in enumerate(inputs)]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_found_cells_inherit_from_a_search_of_the_same_levels_alone():
    searched = mixed(first_level=1)
    found = DiscreteCells(Genotype.random(seed=0, shape=CellShape(nodes=2, first_level=1)), STAGES)
    inherit(found, searched)
    for level in (1, 2):
        assert torch.equal(found.levels[level].inputs[0][1].weight, searched.levels[level].inputs[0][1].weight)
    with pytest.raises(ValueError, match=r"cells from level 0 on and 2 nodes, got 3, 1 and 2"):
        inherit(DiscreteCells(Genotype.random(seed=0, shape=CellShape(nodes=2)), STAGES), searched)


def test_a_warm_start_meets_levels_by_resolution():
    source, deeper = mixed(seed=1, shared=False), mixed(shared=False, first_level=1)
    start_architecture(deeper, source.state_dict(), 1.0)
    assert torch.equal(deeper.architecture.alpha, source.architecture.alpha[1:])
    # A source without the highest level serves it with its own highest.
    everywhere = mixed(seed=2, shared=False)
    start_architecture(everywhere, deeper.state_dict(), 1.0)
    own, other = everywhere.architecture.alpha, deeper.architecture.alpha
    assert torch.equal(own[0], other[0]) and torch.equal(own[1:], other)

    report = transfer_cells(deeper, source.state_dict())
    how = {record.name: record.how for record in report.records}
    assert {name.split(".")[1] for name, what in how.items() if what == "the target has no such layer"} == {"0"}
    copied = [record for record in report.records if record.what == "copied"]
    assert {record.name.split(".")[1] for record in copied} == {"1", "2"}


def test_an_infinite_temperature_is_a_cold_start_here_too():
    cold, warm = (mixed(shared=False, first_level=1) for _ in range(2))
    start_architecture(warm, mixed(seed=1, shared=False).state_dict(), math.inf)
    assert torch.equal(cold.architecture.alpha, warm.architecture.alpha)


def test_reports_name_levels_by_resolution():
    assert [level_name(group, 2, first_level=1) for group in range(2)] == ["level 1", "level 2"]
    assert level_name(0, 1, first_level=1) == "cell shared by all levels from level 1 on"
