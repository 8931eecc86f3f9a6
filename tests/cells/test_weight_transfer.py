"""A host's weights in another host: which logits stay, what is fresh, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hosts import BACKBONES, CLASSES, host_arguments, image
from torch import nn

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.cells.transfer_report import TransferReport
from nnunet_iac.cells.weight_transfer import Interface, is_alias, transfer_weights, unique_tensors

LABELS = ("background", "left", "right")
KINDS = pytest.mark.parametrize("kind", ["plain", "residual"])


def host(kind: str = "plain", dimension: int = 2, *, seed: int, features: Any = (8, 16, 16), **more: Any) -> nn.Module:
    """A host whose weights are not special; ``depth`` is its kernel and stride along the first axis of 3D."""
    arguments = host_arguments(kind, dimension, features)
    depth = more.pop("depth", None)
    if depth:
        stages = len(features)
        arguments["kernel_sizes"] = [[depth, 3, 3]] * stages
        arguments["strides"] = [[1, 1, 1]] + [[min(depth, 2), 2, 2]] * (stages - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CLASSES[kind](**{**arguments, **more})
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def move(target: nn.Module, source: nn.Module, **more: Any) -> TransferReport:
    """Transfer between networks whose channels have no names."""
    ends = [Interface(("",) * inputs_of(network), LABELS) for network in (source, target)]
    return transfer_weights(target, source.state_dict(), *ends, **more)


def inputs_of(network: Any) -> int:
    return next(p for n, p in network.named_parameters() if n.endswith("conv.weight")).shape[1]


def logits(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(x)


def records(report: TransferReport, what: str) -> dict[str, str]:
    return {r.name: r.how for r in report.records if r.what == what}


class TestEqualArchitectures:
    @KINDS
    @pytest.mark.parametrize("dimension", [2, 3])
    def test_every_bit_comes_over_and_the_logits_are_equal(self, kind, dimension):
        source, target = (host(kind, dimension, seed=seed) for seed in (0, 1))

        report = move(target, source)

        x = image(dimension)
        assert torch.equal(logits(source, x), logits(target, x))
        assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())
        assert report.share == 1 and report.counts["copied"] == len(report.records)

    @KINDS
    def test_each_tensor_is_reported_once_and_aliases_follow(self, kind):
        source, target = (host(kind, seed=seed) for seed in (0, 1))

        names = [record.name for record in move(target, source).records]

        assert names == [key for key in target.state_dict() if not is_alias(key)] == list(unique_tensors(target))
        assert len(names) < len(target.state_dict())

    def test_keys_of_ddp_and_compile_are_understood(self):
        source, target = (host(seed=seed) for seed in (0, 1))
        weights = {f"module._orig_mod.{key}": value for key, value in source.state_dict().items()}

        assert transfer_weights(target, weights, Interface(("",)), Interface(("",))).counts["left over"] == 0

    def test_running_statistics_come_over_too(self):
        source, target = (host(seed=s, norm_op=nn.BatchNorm2d) for s in (0, 1))
        source.train()(image())
        source.eval()

        move(target, source)

        assert torch.equal(logits(source, image()), logits(target, image()))


class TestImageChannels:
    @KINDS
    @pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1), (4, 2)])
    def test_an_image_with_equal_channels_gives_the_logits_of_the_source(self, kind, old, new):
        source, target = host(kind, seed=0, input_channels=old), host(kind, seed=1, input_channels=new)

        report = move(target, source)

        x = image()
        before, after = (logits(n, x.repeat(1, c, 1, 1)) for n, c in ((source, old), (target, new)))
        assert torch.allclose(before, after, atol=1e-5)
        assert len(records(report, "adapted")) == 1 and not records(report, "skipped")

    def test_channels_with_names_meet_by_name(self):
        source, target = host(seed=0, input_channels=4), host(seed=1, input_channels=2)
        names = Interface(("FLAIR", "T1w", "T1gd", "T2w"), LABELS), Interface(("t2w", "flair"), LABELS)

        transfer_weights(target, source.state_dict(), *names)

        x, absent = torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 2, 16, 16)
        before = logits(source, torch.cat([x[:, 1:], absent, x[:, :1]], 1))
        assert torch.allclose(before, logits(target, x), atol=1e-5)


class TestDimensions:
    @KINDS
    @pytest.mark.parametrize("depth", [None, 1, 3])
    def test_a_volume_that_is_constant_along_the_slices_gives_the_logits_of_2d_everywhere(self, kind, depth):
        """Borders and instance normalisation included; depth None is nnU-Net's plan for thick slices."""
        source, target = host(kind, seed=0), host(kind, 3, seed=1, depth=depth)

        move(target, source)

        x = image()
        volume = logits(target, x[:, :, None].expand(-1, -1, 8, -1, -1))
        assert torch.allclose(volume, logits(source, x)[:, :, None].expand_as(volume), atol=1e-5)

    @KINDS
    def test_2d_to_3d_and_back_gives_equal_bits(self, kind):
        source, middle, back = host(kind, seed=0), host(kind, 3, seed=1), host(kind, seed=2)

        move(middle, source)
        move(back, middle)

        assert all(torch.equal(value, back.state_dict()[key]) for key, value in source.state_dict().items())

    @KINDS
    def test_a_3d_network_that_looks_at_single_slices_is_the_2d_network(self, kind):
        source, target = host(kind, 3, seed=0, depth=1), host(kind, seed=1)

        report = move(target, source)

        x = image()
        volume = logits(source, x[:, :, None].expand(-1, -1, 4, -1, -1))
        assert torch.allclose(volume[:, :, 2], logits(target, x), atol=1e-5)
        assert report.share == 1

    def test_a_fully_3d_network_gives_its_2d_heir_what_it_answers_far_from_the_ends_of_the_volume(self):
        """One stage of convolutions without normalisation, whose response to the ends reaches 2 slices only."""
        arguments = {"norm_op": None, "features": (8, 8), "strides": [[1, 1, 1]] * 2}
        source = host("plain", 3, seed=0, **arguments, kernel_sizes=[[3, 3, 3]] * 2)
        target = host("plain", seed=1, **{**arguments, "strides": [[1, 1]] * 2})

        move(target, source)

        x = image()
        volume = logits(source, x[:, :, None].expand(-1, -1, 9, -1, -1))
        assert torch.allclose(volume[:, :, 4], logits(target, x), atol=1e-5)
        assert not torch.allclose(volume[:, :, 0], logits(target, x), atol=1e-2)


class TestWidthsAndStages:
    @pytest.mark.parametrize(("kind", "features"), [("plain", (12, 24, 20)), ("residual", (16, 32, 32))])
    def test_a_wider_network_computes_what_the_source_did(self, kind, features):
        source, target = host(kind, seed=0), host(kind, seed=1, features=features)

        report = move(target, source)

        assert torch.allclose(logits(source, image()), logits(target, image()), atol=1e-5)
        assert report.parameters["fresh"] > 0 and report.parameters["zero"] > 0

    def test_what_is_new_in_a_wider_network_gets_gradients(self):
        target = host(seed=1, features=(12, 24, 20))
        move(target, host(seed=0))
        target(image()).square().sum().backward()

        assert target.decoder.seg_layers[-1].weight.grad[:, 8:].abs().min() > 0

    @KINDS
    def test_a_narrower_network_is_filled_from_the_source(self, kind):
        source, target = host(kind, seed=0), host(kind, seed=1, features=(4, 8, 8))

        report = move(target, source)

        assert report.share == 1 and torch.isfinite(logits(target, image())).all()
        old, new = source.decoder.transpconvs[1], target.decoder.transpconvs[1]
        assert torch.equal(new.bias, old.bias[:4])
        assert torch.allclose(new.weight, old.weight[:8, :4] * 2**0.5)

    @KINDS
    def test_a_deeper_network_keeps_the_common_stages_and_says_what_is_fresh(self, kind):
        source, target = host(kind, seed=0), host(kind, seed=1, features=(8, 16, 16, 16))
        before = {key: value.clone() for key, value in target.state_dict().items()}

        report = move(target, source)

        fresh = records(report, "skipped")
        assert {".".join(name.split(".")[:3]) for name in fresh} == {
            "encoder.stages.3",
            "decoder.stages.0",
            "decoder.transpconvs.0",
            "decoder.seg_layers.0",
        }
        assert all(torch.equal(before[name], target.state_dict()[name]) for name in fresh)
        copied = records(report, "copied")
        assert copied["decoder.transpconvs.2.weight"] == "from decoder.transpconvs.1.weight"
        assert torch.equal(target.decoder.transpconvs[2].weight, source.decoder.transpconvs[1].weight)

    def test_a_shallower_network_takes_the_stages_of_high_resolution(self):
        source, target = host(seed=0, features=(8, 16, 16, 16)), host(seed=1)

        report = move(target, source)

        left = [r for r in report.records if r.target_shape is None]
        assert report.share == 1 and len(left) == report.counts["left over"] == 12
        assert {".".join(r.name.split(".")[:3]) for r in left if r.name[0] == "e"} == {"encoder.stages.3"}
        assert torch.equal(target.decoder.stages[1].convs[0].conv.weight, source.decoder.stages[2].convs[0].conv.weight)

    def test_more_convolutions_in_a_stage_are_fresh(self):
        report = move(host(seed=1, n_conv_per_stage=[2, 1, 1]), host(seed=0))
        assert {name.rpartition(".convs.")[0] for name in records(report, "skipped")} == {"encoder.stages.0.0"}


class TestSegmentationLayers:
    def heads(self, old: Interface, new: Interface) -> tuple[Any, Any, TransferReport]:
        source, target = host(seed=0), host(seed=1)
        report = transfer_weights(target, source.state_dict(), old, new)
        return source.decoder.seg_layers, target.decoder.seg_layers, report

    def test_they_follow_the_names_of_the_labels(self):
        old, new, report = self.heads(Interface(("",), LABELS), Interface(("",), ("Background", "Right", "left")))

        assert torch.equal(new[1].weight, old[1].weight[[0, 2, 1]]) and torch.equal(new[1].bias, old[1].bias[[0, 2, 1]])
        assert records(report, "adapted")["decoder.seg_layers.1.bias"] == "outputs ordered by label name"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (Interface(("",), LABELS), Interface(("",), ("background", "left", "tumour"))),
            (Interface(("",), LABELS), Interface(("",), LABELS, regions=True)),
            (Interface(("",)), Interface(("",))),
        ],
        ids=["other names", "regions", "unknown"],
    )
    def test_they_stay_fresh_where_the_labels_do_not_agree(self, old, new):
        before = host(seed=1).decoder.seg_layers[0].weight

        _, heads, report = self.heads(old, new)

        assert torch.equal(heads[0].weight, before)
        assert set(records(report, "skipped").values()) == {"segmentation layer of other labels"}


class TestCells:
    def cells(self, seed: int) -> CellUNet:
        torch.manual_seed(seed)
        return CellUNet(BACKBONES["plain"], Genotype.random(seed=0), **host_arguments())

    @pytest.mark.parametrize("wanted", [False, True])
    def test_they_come_over_only_where_asked(self, wanted):
        source, target = self.cells(0), self.cells(1)

        report = move(target, source, with_cells=wanted)

        same = [torch.equal(a, b) for a, b in zip(source.cells.parameters(), target.cells.parameters(), strict=True)]
        assert all(same) is wanted
        assert any(name.startswith("cells.") for name in records(report, "skipped")) is not wanted

    def test_a_network_with_cells_takes_a_stock_host_and_keeps_its_logits(self):
        source, target = host(seed=0), self.cells(1)
        for cell in target.cells.modules():
            if hasattr(cell, "close"):
                cell.close()

        move(target, source)

        assert torch.allclose(logits(source, image()), logits(target.eval(), image()), atol=1e-6)


class TestRefusals:
    def test_another_kind_of_encoder(self):
        with pytest.raises(ValueError, match=r"expected the target's kind of encoder, plain, got residual"):
            move(host(seed=1), host("residual", seed=0))

    def test_weights_of_something_else(self):
        with pytest.raises(ValueError, match=r"expected those of a U-Net of nnU-Net, got keys such as \['layer1"):
            transfer_weights(host(seed=0), {"layer1.weight": torch.ones(1)}, Interface(("",)), Interface(("",)))

    @pytest.mark.parametrize("wrong", [Interface(("", "")), Interface(("",), ("background", "left"))])
    def test_an_interface_of_another_network(self, wrong):
        before = host(seed=1).state_dict()
        target = host(seed=1)

        with pytest.raises(ValueError, match="interface: expected 1 image channels and names of 3 outputs"):
            transfer_weights(target, host(seed=0).state_dict(), wrong, Interface(("",), LABELS))

        assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())
