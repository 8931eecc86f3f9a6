"""What every baseline must hold on every host: it is the host around other skip connections."""

from __future__ import annotations

import pytest
import torch
from tiny_baselines import FEATURES, HOSTS, NETWORKS, build, listed
from tiny_hosts import BACKBONES, CLASSES, host_arguments, image, stock_host

EVERY = [(name, *host) for name in NETWORKS for host in HOSTS]
every_host = pytest.mark.parametrize(("name", "kind", "dimension"), EVERY)
every_network = pytest.mark.parametrize("name", NETWORKS)


@every_host
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_its_outputs_have_the_shapes_of_the_hosts(name, kind, dimension, deep_supervision):
    stock = stock_host(kind, dimension, features=FEATURES, deep_supervision=deep_supervision)
    network = build(name, kind, dimension, deep_supervision=deep_supervision)
    x = image(dimension)
    assert [y.shape for y in listed(network(x))] == [y.shape for y in listed(stock(x))]
    assert isinstance(network(x), list) is deep_supervision


@every_host
def test_every_parameter_gets_a_gradient(name, kind, dimension):
    network = build(name, kind, dimension, deep_supervision=True)
    sum(y.square().mean() for y in network(image(dimension))).backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing
    # A constant before a normalisation, such as a bias, changes nothing and has a zero gradient.
    weights = {n: p for n, p in network.named_parameters() if n.startswith("cells.") and p.ndim > 1}
    assert weights and all(p.grad.any() for p in weights.values())


@every_host
def test_a_stock_checkpoint_fits_encoder_and_decoder_strictly(name, kind, dimension):
    stock = stock_host(kind, dimension, features=FEATURES)
    network = build(name, kind, dimension, stock=stock)
    own = [key for key in network.state_dict() if not key.startswith("cells.")]
    assert own == list(stock.state_dict())
    assert all(torch.equal(network.state_dict()[key], value) for key, value in stock.state_dict().items())
    network.encoder.load_state_dict(stock.encoder.state_dict(), strict=True)
    network.decoder.load_state_dict(stock.decoder.state_dict(), strict=True)


@every_host
def test_with_one_seed_the_host_is_drawn_as_without_it(name, kind, dimension):
    torch.manual_seed(0)
    stock = CLASSES[kind](**host_arguments(kind, dimension, FEATURES))
    stock.apply(stock.initialize)
    torch.manual_seed(0)
    network = build(name, kind, dimension).state_dict()
    assert all(torch.equal(network[key], value) for key, value in stock.state_dict().items())


@every_host
def test_one_seed_gives_one_network(name, kind, dimension):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(name, kind, dimension).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@every_network
def test_nnunet_can_switch_deep_supervision(name):
    network = build(name, deep_supervision=True)
    assert [tuple(y.shape[2:]) for y in network(image())] == [(16, 16), (8, 8), (4, 4)]
    network.decoder.deep_supervision = False
    assert network(image()).shape == (2, 3, 16, 16)


@every_network
@pytest.mark.parametrize("features", [(1, 2), (3, 5, 7)])
def test_few_levels_and_odd_numbers_of_channels(name, features):
    network = NETWORKS[name](BACKBONES["plain"], **host_arguments(features=features))
    assert network(image()).shape == (2, 3, 16, 16)


@every_network
def test_a_host_without_normalisation_whose_sizes_are_plain_numbers(name):
    arguments = {**host_arguments(features=FEATURES), "norm_op": None, "norm_op_kwargs": None, "kernel_sizes": 3}
    arguments.update(strides=[1, 2, 2, 2], n_conv_per_stage_decoder=2)
    assert NETWORKS[name](BACKBONES["plain"], **arguments)(image()).shape == (2, 3, 16, 16)


@every_network
def test_unknown_hosts_are_refused(name):
    with pytest.raises(ValueError, match=r"backbone: .* got 'a.b.PrimusM'"):
        NETWORKS[name]("a.b.PrimusM", **host_arguments())
