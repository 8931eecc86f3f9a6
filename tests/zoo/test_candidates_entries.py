"""Reading a supernet back: what was written, and nothing that costs more memory than the weights' file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_supernets import architecture, images, supernet

from nnunet_iac.cells.weight_transfer import unique_tensors
from nnunet_iac.zoo.candidates_entries import SUPERNET, read_supernet, supernet_facts
from nnunet_iac.zoo.entry import Description
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.supernet import ElasticUNet


def add(zoo: Zoo, facts: dict[str, Any], network: ElasticUNet) -> Any:
    """Store a network under these facts."""
    about = Description(
        kind=SUPERNET,
        name="s",
        dataset="Dataset001_A",
        plans={},
        configuration="2d",
        trainer="test",
        channels=("a", "b"),
        spacing=(1, 1),
        patch_size=(16, 16),
        facts=facts,
    )
    return zoo.add(about, dict(unique_tensors(network))).entry


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("norm", ["InstanceNorm", "BatchNorm"])
def test_a_supernet_is_read_back_bit_by_bit(tmp_path: Path, kind: str, norm: str) -> None:
    network, zoo = supernet(kind, 2, norm, deep_supervision=False), Zoo.create(tmp_path / "zoo")
    state = torch.get_rng_state()

    found = read_supernet(zoo, add(zoo, supernet_facts(network), network))

    assert torch.equal(torch.get_rng_state(), state) and not found.training
    assert all(
        torch.equal(a, b) for a, b in zip(found.state_dict().values(), network.state_dict().values(), strict=True)
    )
    assert all(p.requires_grad and not p.is_meta for p in found.parameters()) and found.space == network.space
    with torch.no_grad():
        for configuration in (network.space.largest, network.space.smallest):
            assert torch.equal(found(images(), configuration), network(images(), configuration))


@pytest.mark.parametrize("features", [(2**24, 2**24, 2**24), (2**62, 2**62, 2**62)])
def test_facts_of_a_network_that_no_memory_holds_are_refused(tmp_path: Path, features: tuple[int, ...]) -> None:
    network, zoo = supernet(), Zoo.create(tmp_path / "zoo")
    space = {**asdict(network.space), "features": features}
    facts = {**supernet_facts(network), "architecture": architecture(features=features), "space": space}

    with pytest.raises(ValueError, match=r"expected the (weights of its architecture|facts of a supernet)"):
        read_supernet(zoo, add(zoo, facts, network))


@pytest.mark.parametrize("many", [{"n_conv_per_stage": [10**9, 2, 2]}, {"n_stages": 10**12}])
def test_facts_of_more_layers_than_tensors_are_refused_at_once(tmp_path: Path, many: dict[str, Any]) -> None:
    network, zoo = supernet(), Zoo.create(tmp_path / "zoo")
    numbers = {"features_per_stage": 8, "kernel_sizes": 3, "strides": 2, "n_conv_per_stage_decoder": 1}
    planned = architecture(**{"n_conv_per_stage": 2, **(numbers if "n_stages" in many else {}), **many})
    facts = {**supernet_facts(network), "architecture": planned}

    with pytest.raises(ValueError, match="expected a tensor at least for each of"):
        read_supernet(zoo, add(zoo, facts, network))


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    network, other, zoo = supernet(), supernet(features=(4, 16, 16)), Zoo.create(tmp_path / "zoo")

    with pytest.raises(ValueError, match=r"expected the weights of its architecture, .* the first is encoder.stages"):
        read_supernet(zoo, add(zoo, supernet_facts(network), other))
