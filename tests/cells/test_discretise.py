from __future__ import annotations

import pytest
import torch
from textbook_genotype import parse

from nnunet_iac.cells.architecture import ArchitectureParameters
from nnunet_iac.cells.cell_shape import CellShape, edges_of
from nnunet_iac.cells.discretise import discretise, top_edges
from nnunet_iac.cells.genotype import OPERATIONS


def genotype_of(architecture: ArchitectureParameters):
    return discretise(
        architecture.probabilities(),
        architecture.edge_weights(),
        CellShape(nodes=architecture.nodes),
    )


def drawn(seed: int, nodes: int, groups: int = 2) -> ArchitectureParameters:
    generator = torch.Generator().manual_seed(seed)
    made = ArchitectureParameters(groups=groups, nodes=nodes, generator=generator)
    made.alpha.data = 2 * torch.randn(made.alpha.shape, generator=generator)
    made.beta.data = torch.randn(made.beta.shape, generator=generator)
    mask = torch.rand(made.mask.shape, generator=generator) < 0.7
    mask[..., 1 + seed % 7] = True
    made.set_mask(mask)
    return made


@pytest.mark.parametrize("nodes", [1, 2, 4, 5])
@pytest.mark.parametrize("seed", range(25))
def test_it_equals_the_textbook_on_random_weights(seed, nodes):
    made = drawn(seed, nodes)
    expected = [parse(made.alpha[g].tolist(), made.beta[g].tolist(), made.mask[g].tolist(), nodes) for g in range(2)]
    assert [[list(node) for node in cell] for cell in genotype_of(made).cells] == expected


def test_an_edge_is_weighted_by_beta_and_by_its_best_operation():
    probabilities = torch.full((1, 5, 8), 0.05)
    probabilities[0, :, 4] = torch.tensor([0.5, 0.5, 0.9, 0.5, 0.2])
    weights = torch.tensor([[0.5, 0.5, 0.1, 0.3, 0.6]])
    best = probabilities * weights.unsqueeze(-1)
    assert top_edges(best[0], 2) == [[0, 1], [3, 4]]


def test_none_is_never_chosen_but_its_mass_counts():
    probabilities = torch.zeros(1, 5, 8)
    probabilities[0, :, 0] = torch.tensor([0.99, 0.99, 0.99, 0.2, 0.2])
    probabilities[0, :, 7] = 1 - probabilities[0, :, 0]
    genotype = discretise(
        probabilities, torch.tensor([[0.5, 0.5, 0.4, 0.3, 0.3]]), CellShape(nodes=2, second_input="encoder")
    )
    assert genotype.cells[0] == (
        (("dil_conv_5x5", 0), ("dil_conv_5x5", 1)),
        (("dil_conv_5x5", 1), ("dil_conv_5x5", 2)),
    )


def test_ties_go_to_the_earlier_edge_and_operation():
    edges = len(edges_of(3))
    genotype = discretise(torch.full((1, edges, 8), 0.125), torch.ones(1, edges), CellShape(nodes=3))
    assert genotype.cells[0] == (((OPERATIONS[1], 0), (OPERATIONS[1], 1)),) * 3


def test_the_record_says_where_it_comes_from():
    made = drawn(0, 2)
    shape = CellShape(nodes=2, width=0.25, second_input="encoder")
    genotype = discretise(made.probabilities(), made.edge_weights(), shape, origin={"seed": 5})
    assert (genotype.kind, genotype.nodes, genotype.width, genotype.second_input) == ("searched", 2, 0.25, "encoder")
    assert genotype.origin == {"seed": 5} and len(genotype.cells) == 2


class TestTheCapOnSkips:
    def skips(self, probabilities: torch.Tensor, most: int | None) -> int:
        genotype = discretise(probabilities, torch.full((1, 14), 0.25), CellShape(nodes=4), max_skips=most)
        return str(genotype.cells).count("skip_connect")

    def test_the_weakest_give_way_until_the_cap_is_met(self):
        generator = torch.Generator().manual_seed(0)
        p = torch.rand(1, 14, 8, generator=generator)
        p[..., 3] += 1.0
        assert [self.skips(p, most) for most in (None, 8, 3, 1, 0)] == [8, 8, 3, 1, 0]

    def test_a_skip_that_nothing_can_replace_stays(self):
        only_skips = torch.zeros(1, 14, 8)
        only_skips[..., 3] = 1.0
        assert self.skips(only_skips, 2) == 8
