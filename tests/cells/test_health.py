"""Every kind of source is named in words, and the look for it changes nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments, image
from torch import nn

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.health import Finding, all_finite, find_source
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.module_names import element_in_words, in_words
from nnunet_iac.cells.network import CellUNet

GENOTYPE = Genotype(kind="searched", nodes=1, cells=(((("sep_conv_3x3", 0), ("max_pool_3x3", 1)),),))


def network(cells: str = "mixed", **options: Any) -> CellUNet:
    torch.manual_seed(0)
    found = GENOTYPE if cells == "discrete" else Genotype.identity()
    made = CellUNet(BACKBONES["plain"], found, **{**host_arguments(), **options})
    made.apply(made.initialize)
    if cells == "mixed":
        made.implant(MixedCells(made.stages, CellShape(nodes=2)))
    return made.train()


def find(made: nn.Module, data: torch.Tensor | None = None, **batch: Any) -> Finding:
    data = image() if data is None else data
    return find_source(made, lambda: made(data).square().mean(), {"data": data, **batch})


class TestData:
    def test_names_sample_channel_and_case(self) -> None:
        data = torch.zeros(2, 1, 16, 16)
        data[1, 0, 3, 4:6] = math.nan

        found = find(network(), data, keys=["patient0_a", "patient3_b"])

        assert found.kind == "data"
        assert found.text == "data: 2 of 256 values of channel 0 of sample 1 (case 'patient3_b') NaN or Inf"

    def test_names_a_target_of_one_resolution(self) -> None:
        target = [torch.zeros(2, 1, 16, 16), torch.full((2, 1, 8, 8), math.inf)]

        assert find(network(), target=target).text.startswith("target: 64 of 64 values of channel 0 of sample 0")

    def test_whole_numbers_are_finite(self) -> None:
        assert all_finite([torch.zeros(2, dtype=torch.int16)])


class TestParameter:
    def test_of_the_host_is_named(self) -> None:
        made = network()
        made.encoder.stages[1][0].convs[0].conv.weight.data[0, 0, 0, 0] = math.inf

        found = find(made)

        assert found.kind == "parameter" and found.text.startswith("encoder, stage 1 (encoder.stages.1.0.convs.0.conv")

    @pytest.mark.parametrize(
        ("cells", "name", "words"),
        [
            ("mixed", "cells.levels.1.body.edges.3.operations.5.0.depthwise.weight", "edge 1 -> node 1, sep_conv_5x5"),
            ("discrete", "cells.levels.1.body.nodes.0.0.0.depthwise.weight", "edge 0 -> node 0, sep_conv_3x3"),
            ("discrete", "cells.levels.1.projection.weight", "projection"),
            ("discrete", "cells.levels.1.inputs.0.1.weight", "decoder input"),
        ],
    )
    def test_of_a_cell_is_named_by_level_edge_and_operation(self, cells: str, name: str, words: str) -> None:
        made = network(cells)
        made.get_parameter(name).data.fill_(math.nan)

        assert find(made).text.startswith(f"cell of level 1, {words} ({name})")

    def test_of_an_architecture_logit_names_edge_and_operation(self) -> None:
        made = network()
        made.get_parameter("cells.architecture.alpha").data[0, 4, 7] = math.nan

        assert find(made).text.startswith(f"architecture logits, cell 0, edge 2 -> node 1, {OPERATIONS[7]} (")
        assert element_in_words(made, "cells.architecture.beta", (0, 1)).startswith("architecture logits, cell 0, edge")

    def test_a_running_statistic_counts(self) -> None:
        made = network(norm_op=nn.BatchNorm2d, norm_op_kwargs={})
        made.get_buffer("encoder.stages.0.0.convs.0.norm.running_var").fill_(math.inf)

        assert "running_var" in find(made).text


class TestModule:
    @pytest.mark.parametrize("operation", [o for o in OPERATIONS if "conv" in o])
    def test_an_operation_of_a_mixed_cell_is_named_though_all_edges_are_convolved_together(
        self, operation: str
    ) -> None:
        made = network()
        module = made.get_submodule(f"cells.levels.0.body.edges.2.operations.{OPERATIONS.index(operation)}")
        for weight in module.parameters():
            weight.data.fill_(3e38)

        found = find(made)

        assert found.kind == "module" and f"cell of level 0, edge 0 -> node 1, {operation} (cells" in found.text

    def test_a_pooling_that_edges_share_is_named(self) -> None:
        made = network()
        made.cells.levels[1].body.edges[0].operations[1] = Broken()

        assert "cell of level 1, edge 0 -> node 0, max_pool_3x3 (cells" in find(made).text

    def test_a_sum_of_finite_operations_is_named(self) -> None:
        made = network()
        body = made.cells.levels[0].body
        state = torch.full((1, 8, 4, 4), 3e38)

        found = find_source(body, lambda: body([state, state], *uniform(body, weight=2.0))[0].sum())

        assert "the sum of the edges of node 0 is NaN or Inf" in found.text

    def test_of_a_discrete_cell_is_named(self) -> None:
        made = network("discrete")
        made.get_submodule("cells.levels.0.body.nodes.0.0.1.pointwise").weight.data.fill_(3e38)

        assert "cell of level 0, edge 0 -> node 0, sep_conv_3x3" in find(made).text

    def test_the_input_is_measured(self) -> None:
        made = network(norm_op=None, norm_op_kwargs={})
        made.encoder.stages[0][0].convs[0].conv.weight.data.fill_(3.0)

        found = find(made, torch.full((1, 1, 16, 16), 3e38))

        assert found.kind == "module" and "encoder, stage 0" in found.text and "(up to 3e+38)" in found.text


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * math.nan


def uniform(body: Any, weight: float) -> tuple[Any, ...]:
    """Weights of edges and operations, and skip_connect alone active."""
    edges = len(body.wiring)
    return torch.full((edges, 8), weight), torch.ones(edges), [(OPERATIONS.index("skip_connect"),)] * edges


class TestLossAndGradients:
    def test_the_loss_itself(self) -> None:
        made, data = network(), image()

        found = find_source(made, lambda: (made(data).mean() * 0).log(), {"data": data})

        assert found.kind == "loss" and found.text.startswith("the loss is -inf, the network's output is finite")

    def test_the_gradient_that_is_met_first(self) -> None:
        made, data = network("discrete"), image()

        # The square root's slope at zero is infinite: the chain meets 0 * inf.
        found = find_source(made, lambda: (made(data) * 0).square().sum().sqrt(), {"data": data})

        assert found.kind == "gradient" and "decoder, segmentation layer 1" in found.text

    def test_nothing_to_find_is_said(self) -> None:
        assert find(network()).kind == "unknown"


class TestHalfPrecision:
    def test_an_overflow_of_half_precision_is_told_from_one_of_the_layer(self) -> None:
        made, data = network("discrete"), image()
        made.encoder.stages[0][0].convs[0].conv.weight.data.fill_(3e4)
        data.fill_(3.0)

        def half() -> Any:
            return torch.autocast("cpu", dtype=torch.float16)

        found = find_source(made, lambda: made(data).square().mean(), {"data": data}, half=half)

        assert found.kind == "half precision" and "encoder, stage 0" in found.text


def test_the_look_changes_nothing() -> None:
    made = network(norm_op=nn.BatchNorm2d, norm_op_kwargs={}, dropout_op=nn.Dropout2d, dropout_op_kwargs={"p": 0.5})
    before = {key: value.clone() for key, value in made.state_dict().items()}
    modes, random = [m.training for m in made.modules()], torch.get_rng_state()

    find(made)

    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())
    assert [m.training for m in made.modules()] == modes and torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in made.parameters()) and not any(m._forward_hooks for m in made.modules())


def test_a_name_without_words_stays() -> None:
    assert in_words(nn.Sequential(), "") == "the network as a whole"
    assert in_words(nn.ModuleDict({"heads": nn.Linear(1, 1)}), "heads.weight") == "heads.weight"
