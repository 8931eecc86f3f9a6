from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments

from nnunet_iac.cells.architecture import ArchitectureParameters, architecture_parameters, weight_parameters
from nnunet_iac.cells.cell_shape import edges_of
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.network import CellUNet


def parameters(groups: int = 2, nodes: int = 3, seed: int = 0) -> ArchitectureParameters:
    made = ArchitectureParameters(groups=groups, nodes=nodes, generator=torch.Generator().manual_seed(seed))
    torch.nn.init.normal_(made.alpha)
    torch.nn.init.normal_(made.beta)
    return made


def without(mask: torch.Tensor, *entries: tuple[int, int, int]) -> torch.Tensor:
    mask = mask.clone()
    for entry in entries:
        mask[entry] = False
    return mask


def mixed_network() -> CellUNet:
    network = CellUNet(BACKBONES["plain"], Genotype.identity(), **host_arguments())
    network.implant(MixedCells(network.stages))
    return network


def test_they_start_small_and_seeded():
    a, b, c = (ArchitectureParameters(groups=1, nodes=4, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(a.alpha, b.alpha) and torch.equal(a.beta, b.beta) and not torch.equal(a.alpha, c.alpha)
    assert 0.5e-3 < a.alpha.std() < 2e-3 and a.alpha.shape == (1, 14, 8) and a.beta.shape == (1, 14)


def test_they_are_in_the_state_dict():
    assert {"cells.architecture.alpha", "cells.architecture.beta", "cells.architecture.mask"} <= set(
        mixed_network().state_dict()
    )


def test_weights_and_architecture_part_all_parameters():
    network = mixed_network()
    weights, architecture = list(weight_parameters(network)), architecture_parameters(network)
    assert {id(p) for p in architecture} == {id(network.cells.architecture.alpha), id(network.cells.architecture.beta)}
    assert not {id(p) for p in weights} & {id(p) for p in architecture}
    assert len(weights) + len(architecture) == len(list(network.parameters()))


def test_weights_of_a_frozen_host_are_left_out():
    network = mixed_network()
    network.freeze_host(True)
    assert len(list(weight_parameters(network))) == len(list(network.cells.parameters())) - 2


def test_probabilities_are_a_softmax_over_active_operations():
    made = parameters()
    made.set_mask(without(made.mask, (0, 1, 2), (0, 1, 5)))
    p = made.probabilities()
    assert torch.allclose(p.sum(-1), torch.ones(2, 9)) and p[0, 1, 2] == 0 and p[0, 1, 5] == 0
    left = [0, 1, 3, 4, 6, 7]
    assert torch.allclose(p[0, 1, left], made.alpha[0, 1, left].softmax(-1))


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_edge_weights_sum_to_one_at_every_node(nodes):
    made = parameters(nodes=nodes)
    weights = made.edge_weights()
    assert weights.shape == made.beta.shape and bool((weights > 0).all())
    for node in range(nodes):
        entering = [e for e, (i, _) in enumerate(edges_of(nodes)) if i == node]
        assert torch.allclose(weights[:, entering].sum(-1), torch.ones(2))


def test_a_pruned_logit_gets_no_gradient():
    made = parameters()
    made.set_mask(without(made.mask, (1, 2, 3)))
    (made.probabilities() * torch.randn_like(made.alpha)).sum().backward()
    assert made.alpha.grad.isfinite().all() and made.alpha.grad[1, 2, 3] == 0 and made.alpha.grad[1, 2].any()


def test_active_names_what_is_left():
    made = parameters()
    made.set_mask(without(made.mask, (0, 4, 0), (0, 4, 7)))
    assert made.active(0, 4) == (1, 2, 3, 4, 5, 6) and made.active(1, 4) == tuple(range(8))


@pytest.mark.parametrize("strict", [True, False])
def test_reloading_in_the_middle_of_a_search_keeps_the_mask(strict):
    made = parameters()
    made.set_mask(without(made.mask, (0, 0, 1), (1, 3, 6)))
    other = parameters(seed=9)
    other.load_state_dict(made.state_dict(), strict=strict)
    assert torch.equal(other.mask, made.mask) and torch.equal(other.probabilities(), made.probabilities())
    assert all(other.active(g, e) == made.active(g, e) for g in range(2) for e in range(9))


def test_reloading_a_whole_network_keeps_the_mask():
    network, other = mixed_network(), mixed_network()
    architecture = network.cells.architecture
    architecture.set_mask(without(architecture.mask, (0, 0, 1)))
    other.load_state_dict(network.state_dict())
    assert other.cells.architecture.active(0, 0) == (0, 2, 3, 4, 5, 6, 7)


def test_a_copy_is_independent():
    made = parameters()
    other = copy.deepcopy(made)
    made.set_mask(without(made.mask, (0, 0, 1)))
    assert len(other.active(0, 0)) == 8
    other.load_state_dict(made.state_dict())
    assert len(other.active(0, 0)) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: mask[:, :3], r"expected shape \(2, 9, 8\), got \(2, 3, 8\)"),
        (torch.ones_like, "stay pruned, got one that returns"),
        (lambda mask: torch.zeros_like(mask), "at least one operation on each edge"),
    ],
)
def test_a_bad_mask_is_refused_and_changes_nothing(change, message):
    made = parameters()
    made.set_mask(without(made.mask, (0, 0, 1)))
    before = made.mask.clone()
    with pytest.raises(ValueError, match=f"mask: expected .*{message}|mask: {message}"):
        made.set_mask(change(made.mask))
    assert torch.equal(made.mask, before) and made.active(0, 0) == (0, 2, 3, 4, 5, 6, 7)


def test_parameters_can_be_pickled_and_a_copy_still_reads_masks_into_itself():
    made = ArchitectureParameters(groups=1, nodes=2)
    copied = pickle.loads(pickle.dumps(made))
    mask = torch.ones(1, 5, 8, dtype=torch.bool)
    mask[0, 3, 1:7] = False
    copied.load_state_dict({**made.state_dict(), "mask": mask})
    assert copied.active(0, 3) == (0, 7) and made.active(0, 3) == tuple(range(8))
