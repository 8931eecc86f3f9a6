"""Encoders of checkpoints, of timm and the embedded one: the right weights, any channels, the right dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from prepared_datasets import tiny_plans
from torch import nn

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.cases.encoders import ImageEncoder, fit_channels, load_encoder
from nnunet_iac.nnunet.files.plans import with_genotype
from nnunet_iac.nnunet.files.weights import build_network, weight_target, write_weights

LABELS = {"background": 0, "shell": 1, "box": 2}


def write_checkpoint(
    path: Path, plans: dict[str, Any], channels: int = 1, configuration: str = "2d"
) -> tuple[Path, nn.Module]:
    content = {"channel_names": {str(i): f"c{i}" for i in range(channels)}, "labels": LABELS, "file_ending": ".png"}
    target = weight_target(plans, configuration, content)
    network = build_network(target, seed=3)
    write_weights(path, network, target, {})
    return path, network.eval()


@pytest.fixture
def plans(stock_plans: dict[str, Any]) -> dict[str, Any]:
    return tiny_plans(stock_plans)


@pytest.mark.parametrize(("configuration", "spatial"), [("2d", (16, 16)), ("3d_fullres", (4, 16, 16))])
def test_a_checkpoint_gives_its_own_features(
    plans: dict[str, Any], tmp_path: Path, configuration: str, spatial: tuple[int, ...]
) -> None:
    path, network = write_checkpoint(tmp_path / "a.pth", plans, 2, configuration)
    images = torch.randn(3, 2, *spatial)

    encoder = load_encoder(str(path), len(spatial))

    levels = encoder(images)
    with torch.no_grad():
        expected = network.encoder(images)
    assert all(torch.equal(found, wanted) for found, wanted in zip(levels, expected, strict=True))
    assert (encoder.channels, encoder.dimensions, encoder.module.training) == (2, len(spatial), False)
    assert not levels[-1].requires_grad


def test_cells_are_left_out(plans: dict[str, Any], tmp_path: Path) -> None:
    path, network = write_checkpoint(tmp_path / "cells.pth", with_genotype(plans, "2d", Genotype.random(seed=0)))
    assert any(key.startswith("cells.") for key in network.state_dict())
    images = torch.randn(2, 1, 16, 16)

    found = load_encoder(str(path), 2)(images)

    with torch.no_grad():
        assert torch.equal(found[-1], network.encoder(images)[-1])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_fitted_to_the_checkpoints_channels(plans: dict[str, Any], tmp_path: Path, channels: int) -> None:
    path, network = write_checkpoint(tmp_path / "a.pth", plans, channels=3)
    images = torch.randn(2, channels, 16, 16)

    found = load_encoder(str(path), 2)(images)

    grey = images.mean(1, keepdim=True).repeat(1, 3, 1, 1)
    with torch.no_grad():
        assert torch.equal(found[-1], network.encoder(images if channels == 3 else grey)[-1])


def test_fitting_channels_keeps_what_fits() -> None:
    images = torch.randn(2, 3, 4, 4, 4)

    assert fit_channels(images, 3) is images
    assert fit_channels(images, 2).shape == (2, 2, 4, 4, 4)


@pytest.mark.parametrize(("dimensions", "channels"), [(2, 1), (2, 5), (3, 2)])
def test_the_embedded_encoder_takes_any_channels(dimensions: int, channels: int) -> None:
    encoder = load_encoder("random", dimensions)
    assert encoder(torch.randn(2, channels, *[8] * dimensions))[-1].shape[:2] == (2, 128)


def test_a_2d_encoder_is_refused_for_3d_data(plans: dict[str, Any], tmp_path: Path) -> None:
    flat, _ = write_checkpoint(tmp_path / "2d.pth", plans)
    deep, _ = write_checkpoint(tmp_path / "3d.pth", plans, configuration="3d_fullres")

    with pytest.raises(ValueError, match=r"images: expected 2 spatial axes, as the encoder .*2d\.pth takes, got 3"):
        load_encoder(str(flat), 3)
    with pytest.raises(ValueError, match=r"images: expected 3 spatial axes.*got 2; choose another encoder"):
        load_encoder(str(deep), 3)(torch.zeros(1, 4, 16, 16))


def test_missing_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"checkpoint: expected the file none\.pth, found none"):
        load_encoder("none.pth", 2)
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match='expected an nnU-Net checkpoint with "network_weights"'):
        load_encoder(str(tmp_path / "other.pth"), 2)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ValueError, match="damaged"):
        load_encoder(str(tmp_path / "text.pth"), 2)


class Levels(nn.Module):
    """Stands for a model of timm."""

    default_cfg = {"input_size": (3, 8, 8)}  # noqa: RUF012

    def __init__(self, output_fmt: str) -> None:
        super().__init__()
        self.output_fmt = output_fmt

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        assert images.shape[-1] == 8, "Input width doesn't match"
        return [images if self.output_fmt == "NCHW" else images.movedim(1, -1)]


@pytest.mark.parametrize("output_fmt", ["NCHW", "NHWC"])
def test_features_of_timm_have_channels_first(monkeypatch: pytest.MonkeyPatch, output_fmt: str) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(timm, "create_model", lambda name, **how: asked.append((name, how)) or Levels(output_fmt))

    encoder = load_encoder("timm:some_model", 2)

    assert encoder(torch.zeros(2, 1, 8, 8))[0].shape == (2, 3, 8, 8)
    assert asked == [("some_model", {"pretrained": True, "features_only": True})]
    with pytest.raises(ValueError, match=r"expected images that timm:some_model takes, got \(2, 3, 9, 9\)"):
        encoder(torch.zeros(2, 1, 9, 9))


def test_a_real_model_of_timm_works(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **how: create(name, **{**how, "pretrained": False}))

    levels = load_encoder("timm:resnet10t", 2)(torch.randn(2, 1, 32, 32))

    assert len(levels) > 2 and levels[-1].shape[0] == 2 and levels[-1].shape[-1] < levels[0].shape[-1]


def test_a_model_that_timm_cannot_load_is_named() -> None:
    with pytest.raises(ValueError, match=r"expected a model that timm can load .*got 'timm:no_such_model'.*random"):
        load_encoder("timm:no_such_model", 2)


def test_an_encoder_fetches_its_images() -> None:
    seen: list[torch.device] = []

    class Spy(nn.Module):
        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            seen.append(images.device)
            return [images]

    ImageEncoder("spy", Spy(), 2, 1, torch.device("meta"))(torch.zeros(1, 1, 4, 4))

    assert seen == [torch.device("meta")]
