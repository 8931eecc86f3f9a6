"""Labelled images as a task: batches are a function of their index, damaged files are named, skipped and counted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_folders import Folders
from PIL import Image
from prepared_datasets import tiny_plans

from nnunet_iac.nnunet.files.weights import build_network, weight_target
from nnunet_iac.nnunet.pretraining.pretraining_images import ImageFolder

CLASSES = ("dark", "spotted")
CONTENT = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "file_ending": ".png"}


def write_images(folder: Path, count: int = 4, mode: str = "RGB", ending: str = "png") -> Path:
    """Dark images, and some with a bright spot; each has noise of its own."""
    draw = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = draw.integers(0, 60, (20, 24, 3)).astype(np.uint8)
            y, x = draw.integers(6, 12, 2)
            pixels[y : y + 5, x : x + 5] += np.uint8(190 * number)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{index}.{ending}")
    return folder


def task(folder: Path, channels: int = 3, patch: tuple[int, ...] = (16, 16), seed: int = 0) -> ImageFolder:
    return ImageFolder(folder, patch, channels, batch_size=6, seed=seed)


def drawn(source: ImageFolder, count: int = 5) -> list[tuple[torch.Tensor, list[int]]]:
    return [(images, targets.tolist()) for _, images, targets in map(source.batch, range(count))]


def same(first: list[Any], second: list[Any]) -> bool:
    return all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("patch", [(16, 8), (4, 16, 8)])
def test_any_image_fits_any_network(tmp_path: Path, mode: str, channels: int, patch: tuple[int, ...]) -> None:
    ending = "jpg" if mode == "CMYK" else "png"
    source = task(write_images(tmp_path, mode=mode, ending=ending), channels, patch)

    number, images, targets = source.batch(0)

    assert number == 0 and images.shape == (6, channels, *patch) and images.dtype == torch.float32
    assert set(targets.tolist()) == {0, 1} and source.classes == CLASSES and not source.unreadable
    assert images.flatten(1).mean(1).abs().max() < 1e-4 and images.isfinite().all()
    grey = channels != 3 or mode in ("L", "1")
    assert torch.allclose(images, images[:, :1].expand_as(images), atol=1e-5) == grey
    if len(patch) == 3:
        assert torch.equal(images[:, :, 0], images[:, :, -1]), "an image stands still along the first axis"
    elif channels == 3:
        assert images.flatten(1).std(1) == pytest.approx(np.ones(6), abs=1e-3)


def test_batches_are_a_function_of_seed_and_index(tmp_path: Path) -> None:
    write_images(tmp_path)
    expected, before = drawn(task(tmp_path)), torch.get_rng_state()

    backwards = task(tmp_path)
    found = [backwards.batch(index) for index in (4, 3, 2, 1, 0)][::-1]

    assert same([(images, targets.tolist()) for _, images, targets in found], expected)
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(drawn(task(tmp_path, seed=1)), expected, strict=True))
    # Not their sums: images of mean zero have rounding errors for sums, and few of those.
    assert len({images.numpy().tobytes() for images, _ in expected}) == 5
    assert torch.equal(torch.get_rng_state(), before)


def damage(folder: Path) -> list[str]:
    """Four of eight images are damaged, each in its own way."""
    whole = (folder / "dark" / "0.png").read_bytes()
    (folder / "dark" / "0.png").write_bytes(b"no image")
    (folder / "dark" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "spotted" / "0.png").write_bytes(b"")
    (folder / "spotted" / "1.png").write_bytes(whole[:40] + b"\0" * 40 + whole[80:])
    return ["dark/0.png", "dark/1.png", "spotted/0.png", "spotted/1.png"]


def test_damaged_images_are_named_skipped_and_counted(tmp_path: Path) -> None:
    damaged = damage(write_images(tmp_path))
    source = task(tmp_path)

    batches = drawn(source, 10)

    assert sorted(source.unreadable) == damaged and all(source.unreadable.values())
    assert all(images.shape == (6, 3, 16, 16) and images.isfinite().all() for images, _ in batches)


def test_what_was_unreadable_before_does_not_change_a_batch(tmp_path: Path) -> None:
    """A run that was killed and continued has forgotten, or remembers, what it could not read."""
    damage(write_images(tmp_path))
    undisturbed = task(tmp_path)
    expected = drawn(undisturbed, 10)

    forgetful, remembering = task(tmp_path), task(tmp_path)
    remembering.unreadable.update(undisturbed.unreadable)

    for resumed in (forgetful, remembering):
        found = [resumed.batch(index) for index in range(5, 10)]
        assert same([(images, targets.tolist()) for _, images, targets in found], expected[5:])


def test_a_folder_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    for path in write_images(tmp_path).rglob("*.png"):
        path.write_bytes(b"no image")

    with pytest.raises(ValueError, match=r"none of the 8 is: .*\.png \(cannot identify .*\) and 5 more"):
        task(tmp_path).batch(0)


@pytest.mark.parametrize("kind", ["uint16", "int32", "float32"])
def test_images_with_more_than_8_bits_keep_them(tmp_path: Path, kind: str) -> None:
    for name in CLASSES:
        (tmp_path / name).mkdir()
        ramp = np.linspace(1000, 60000, 32 * 32).reshape(32, 32).astype(kind)
        Image.fromarray(ramp).save(tmp_path / name / "ramp.tif")

    _, images, _ = task(tmp_path, channels=1).batch(0)

    assert min(len(image.unique()) for image in images) > 100, "clipped to 255 there would be one value"


def test_an_image_with_nan_is_unreadable(tmp_path: Path) -> None:
    write_images(tmp_path)
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "dark" / "nan.tif")
    source = task(tmp_path)

    assert all(images.isfinite().all() for images, _ in drawn(source, 10))
    assert source.unreadable == {"dark/nan.tif": "holds NaN or infinity"}


def test_an_image_that_is_too_large_to_be_one_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path)
    Image.fromarray(np.zeros((99, 99), np.uint8)).save(tmp_path / "dark" / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 24)
    source = task(tmp_path)

    drawn(source, 10)

    assert list(source.unreadable) == ["dark/bomb.png"] and "decompression bomb" in source.unreadable["dark/bomb.png"]


def test_a_constant_image_is_zero(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / name / "flat.png")

    assert not task(tmp_path, channels=1).batch(0)[1].any()


@pytest.mark.parametrize("folders_made", [(), ("dark",), ("dark", "empty"), ("dark", ".hidden")])
def test_less_than_two_classes_with_images_are_refused(tmp_path: Path, folders_made: tuple[str, ...]) -> None:
    write_images(tmp_path / "images")
    source = tmp_path / "source"
    source.mkdir()
    for name in folders_made:
        (source / name).mkdir()
        if name != "empty":
            shutil.copy(tmp_path / "images" / "dark" / "0.png", source / name)

    with pytest.raises(FileNotFoundError, match=r"--images: expected images of at least two classes in .*source"):
        task(source)


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="--images: expected a folder, found none at nowhere"):
        task(Path("nowhere"))


def test_a_description_names_no_path_and_changes_with_the_files(tmp_path: Path) -> None:
    first = task(write_images(tmp_path / "a" / "photos"))
    moved = task(write_images(tmp_path / "b" / "photos"))
    assert first.description == moved.description and str(tmp_path) not in str(first.description)

    (tmp_path / "b" / "photos" / "dark" / "0.png").rename(tmp_path / "b" / "photos" / "dark" / "other.png")

    assert task(tmp_path / "b" / "photos").description != first.description
    assert task(tmp_path / "a" / "photos", patch=(8, 8)).description != first.description


def test_an_encoder_with_instance_normalisation_learns(
    folders: Folders, stock_plans: dict[str, Any], tmp_path: Path
) -> None:
    """Mean pooling alone stays at log 2."""
    network: Any = build_network(weight_target(tiny_plans(stock_plans), "2d", CONTENT))
    source = task(write_images(tmp_path / "images"), channels=1)
    torch.manual_seed(0)
    heads = list(source.heads(features=16, outputs=4))
    weights = [*network.encoder.parameters(), *heads[0].parameters()]
    optimizer, losses = torch.optim.SGD(weights, 0.01, momentum=0.95), []

    for index in range(40):
        optimizer.zero_grad()
        loss = source.loss(network, heads, source.batch(index))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    assert sum(losses[-10:]) / 10 < 0.3 < sum(losses[:5]) / 5


def test_the_loss_trains_encoder_and_head_and_not_the_decoder(
    folders: Folders, stock_plans: dict[str, Any], tmp_path: Path
) -> None:
    network: Any = build_network(weight_target(tiny_plans(stock_plans), "2d", CONTENT))
    source = task(write_images(tmp_path / "images"), channels=1)
    heads = source.heads(features=16, outputs=4)

    source.loss(network, list(heads), source.batch(0)).backward()

    assert all(weight.grad is not None for weight in [*network.encoder.parameters(), *heads.parameters()])
    assert all(weight.grad is None for weight in network.decoder.stages.parameters())
