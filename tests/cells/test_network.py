from __future__ import annotations

import copy

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments, image, stock_host
from torch import nn

from nnunet_iac.cells.cell import SkipCell
from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet, host_class

HOSTS = [("plain", 2), ("plain", 3), ("residual", 2), ("residual", 3)]
SUPERVISION = [False, True]


def carrier(kind: str, dimension: int, genotype: Genotype, stock: nn.Module | None = None, **more) -> CellUNet:
    """A CellUNet made as nnU-Net makes it, with the stock host's weights if one is given."""
    features = more.pop("features", (8, 16, 16))
    network = CellUNet(BACKBONES[kind], genotype, **host_arguments(kind, dimension, features), **more)
    network.apply(network.initialize)
    if stock is not None:
        fit = network.load_state_dict(stock.state_dict(), strict=False)
        assert not fit.unexpected_keys and all(k.startswith("cells.") for k in fit.missing_keys)
    return network


def implant_mixed(network: CellUNet, **shape) -> CellUNet:
    network.implant(MixedCells(network.stages, CellShape(**shape)))
    network.cells.apply(network.initialize)
    return network


def open_projections(network: CellUNet) -> CellUNet:
    for module in network.modules():
        if isinstance(module, SkipCell):
            nn.init.normal_(module.projection.weight)
    return network


def same(a, b) -> bool:
    a, b = (x if isinstance(x, list) else [x] for x in (a, b))
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class ReturnSkips(nn.Module):
    def forward(self, level, skip, decoder_signal):
        assert skip.shape == decoder_signal.shape
        return skip


@pytest.mark.parametrize("deep_supervision", SUPERVISION)
@pytest.mark.parametrize(("kind", "dimension"), HOSTS)
class TestImplantingChangesNoLogit:
    def test_discrete_cells(self, kind, dimension, deep_supervision):
        stock = stock_host(kind, dimension, deep_supervision=deep_supervision)
        network = carrier(kind, dimension, Genotype.random(seed=3), stock, deep_supervision=deep_supervision)
        x = image(dimension)
        assert same(network(x), stock(x))
        assert not same(open_projections(network)(x), stock(x)), "the cells are not in the path at all"

    def test_mixed_cells(self, kind, dimension, deep_supervision):
        stock = stock_host(kind, dimension, deep_supervision=deep_supervision)
        network = carrier(kind, dimension, Genotype.identity(), stock, deep_supervision=deep_supervision)
        implant_mixed(network)
        x = image(dimension)
        assert same(network(x), stock(x))
        assert not same(open_projections(network)(x), stock(x)), "the cells are not in the path at all"

    def test_the_decoder_loop_is_the_stock_one(self, kind, dimension, deep_supervision):
        stock = stock_host(kind, dimension, deep_supervision=deep_supervision)
        network = carrier(kind, dimension, Genotype.identity(), stock, deep_supervision=deep_supervision)
        network.implant(ReturnSkips())
        x = image(dimension)
        assert same(network(x), stock(x))


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_implanting_changes_no_gradient_of_the_host(kind):
    stock, x = stock_host(kind, deep_supervision=True), image()
    network = carrier(kind, 2, Genotype.random(seed=0), stock, deep_supervision=True)
    for host in (stock, network):
        sum(y.square().mean() for y in host(x)).backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert all(torch.equal(p.grad, gradients[name]) for name, p in stock.named_parameters())


@pytest.mark.parametrize(("kind", "dimension"), HOSTS)
def test_identity_cells_have_the_stock_keys_and_load_a_stock_checkpoint_strictly(kind, dimension):
    stock = stock_host(kind, dimension)
    network = carrier(kind, dimension, Genotype.identity())
    assert list(network.state_dict()) == list(stock.state_dict())
    network.load_state_dict(stock.state_dict(), strict=True)
    stock.load_state_dict(network.state_dict(), strict=True)
    assert same(network(image(dimension)), stock(image(dimension)))


@pytest.mark.parametrize("mixed", [False, True])
def test_cells_add_keys_of_their_own_only(mixed):
    stock = stock_host()
    network = carrier("plain", 2, Genotype.identity() if mixed else Genotype.random(seed=0))
    if mixed:
        implant_mixed(network)
    added = [k for k in network.state_dict() if k not in stock.state_dict()]
    assert added and all(k.startswith("cells.") for k in added)
    assert set(stock.state_dict()) <= set(network.state_dict())


def test_nnunet_builds_the_network_from_plans():
    plans = pytest.importorskip("nnunetv2.utilities.get_network_from_plans")
    arguments = host_arguments("plain", 2)
    for key in ("input_channels", "num_classes"):
        arguments.pop(key)
    as_text = {**arguments, "conv_op": "torch.nn.modules.conv.Conv2d", "nonlin": "torch.nn.LeakyReLU"}
    as_text["norm_op"] = "torch.nn.modules.instancenorm.InstanceNorm2d"
    genotype = Genotype.random(seed=1)
    network = plans.get_network_from_plans(
        "nnunet_iac.cells.network.CellUNet",
        {**as_text, "backbone": BACKBONES["plain"], "genotype": genotype.to_dict()},
        ("conv_op", "norm_op", "nonlin"),
        1,
        3,
        allow_init=True,
        deep_supervision=True,
    )
    cells = [m for m in network.modules() if isinstance(m, SkipCell)]
    assert network.genotype == genotype and len(cells) == 2 and len(network(image())) == 2
    assert all(not cell.projection.weight.any() for cell in cells)


def test_nnunet_can_switch_deep_supervision():
    network = carrier("plain", 2, Genotype.random(seed=0), deep_supervision=True)
    assert [tuple(y.shape[2:]) for y in network(image())] == [(16, 16), (8, 8)]
    network.decoder.deep_supervision = False
    assert network(image()).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(("second_input", "reads"), [("decoder", True), ("encoder", False)])
def test_the_second_input_is_what_the_genotype_says(second_input, reads):
    network = open_projections(carrier("plain", 2, Genotype.random(seed=2, shape=CellShape(second_input=second_input))))
    skip, signal, other = (torch.randn(1, 8, 16, 16) for _ in range(3))
    assert same(network.cells(0, skip, signal), network.cells(0, skip, other)) is not reads


@pytest.mark.parametrize(("second_input", "reads"), [("decoder", True), ("encoder", False)])
def test_the_second_input_of_mixed_cells_too(second_input, reads):
    network = carrier("plain", 2, Genotype.identity())
    open_projections(implant_mixed(network, second_input=second_input))
    skip, signal, other = (torch.randn(1, 8, 16, 16) for _ in range(3))
    assert same(network.cells(0, skip, signal), network.cells(0, skip, other)) is not reads


def test_a_genotype_for_each_level_gives_each_level_its_cell():
    pools = tuple((("max_pool_3x3", 0), ("max_pool_3x3", 1)) for _ in range(2))
    skips = tuple((("skip_connect", 0), ("avg_pool_3x3", 1)) for _ in range(2))
    network = carrier("plain", 2, Genotype(kind="searched", nodes=2, cells=(pools, skips)))
    kinds = [{type(m) for m in level.body.modules()} for level in network.cells.levels]
    assert nn.MaxPool2d in kinds[0] and nn.AvgPool2d not in kinds[0]
    assert nn.AvgPool2d in kinds[1] and nn.MaxPool2d not in kinds[1]


def test_a_genotype_for_another_number_of_levels_is_refused():
    with pytest.raises(ValueError, match=r"expected 0 .* 1 .* or 2 cells.* got 3"):
        carrier("plain", 2, Genotype.random(seed=0, count=3))


@pytest.mark.parametrize("features", [(30, 33, 33), (7, 320, 320), (3, 5, 5)])
@pytest.mark.parametrize("mixed", [False, True])
def test_odd_and_large_numbers_of_channels(features, mixed):
    stock = stock_host(features=features)
    network = carrier("plain", 2, Genotype.identity() if mixed else Genotype.random(seed=0), stock, features=features)
    if mixed:
        implant_mixed(network, nodes=2)
    assert same(network(image()), stock(image()))
    assert open_projections(network)(image()).isfinite().all()


def test_unknown_hosts_are_refused_with_the_ones_that_are_known():
    with pytest.raises(ValueError, match=r"backbone: .*'PlainConvUNet', 'ResidualEncoderUNet'.* got 'a.b.PrimusM'"):
        host_class("a.b.PrimusM")
    with pytest.raises(ValueError, match="genotype"):
        CellUNet(BACKBONES["plain"], {"schema": 1}, **host_arguments())


def test_a_frozen_host_gets_no_gradient_and_stays_in_evaluation_mode():
    network = open_projections(carrier("plain", 2, Genotype.random(seed=0)))
    network.freeze_host(True)
    network.train()
    assert not network.encoder.training and not network.decoder.training and network.cells.training
    network(image()).square().mean().backward()
    assert all(p.grad is None for p in network.host_parameters())
    assert all(p.grad is not None for p in network.cells.parameters())
    network.freeze_host(False)
    assert network.encoder.training and all(p.requires_grad for p in network.parameters())


def test_host_parameters_are_all_but_the_cells():
    network, stock = carrier("residual", 2, Genotype.random(seed=0)), stock_host("residual")
    assert len(network.host_parameters()) == len(list(stock.parameters()))


def test_the_digest_of_the_host_does_not_see_the_cells():
    network, stock = carrier("plain", 2, Genotype.random(seed=0)), carrier("plain", 2, Genotype.identity())
    stock.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("cells.")})
    before = network.host_digest()
    assert stock.host_digest() == before
    open_projections(network)
    implant_mixed(stock)
    assert network.host_digest() == stock.host_digest() == before


@pytest.mark.parametrize("part", ["encoder", "decoder.transpconvs", "decoder.stages", "decoder.seg_layers"])
def test_the_digest_of_the_host_sees_every_part_of_it(part):
    network = carrier("plain", 2, Genotype.random(seed=0))
    before = network.host_digest()
    next(network.get_submodule(part).parameters()).data.view(-1)[0] += 1e-3
    assert network.host_digest() != before


def test_the_digest_of_the_host_sees_its_buffers():
    network = carrier("plain", 2, Genotype.random(seed=0))
    network.decoder.register_buffer("running", torch.zeros(1))
    before = network.host_digest()
    network.decoder.running += 1.0
    assert network.host_digest() != before


@pytest.mark.parametrize("mixed", [False, True])
def test_a_network_with_cells_can_be_copied(mixed):
    network = carrier("plain", 2, Genotype.identity() if mixed else Genotype.random(seed=0))
    if mixed:
        implant_mixed(network)
    open_projections(network)
    assert same(copy.deepcopy(network)(image()), network(image()))


def test_the_planning_aid_counts_the_host():
    network, stock = carrier("plain", 2, Genotype.random(seed=0)), stock_host()
    assert network.compute_conv_feature_map_size((16, 16)) == stock.compute_conv_feature_map_size((16, 16))
