"""Labelled images of a folder as batches for pretraining: torchvision's ImageFolder layout, ``FOLDER/CLASS/IMAGE``."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset
from torchvision.transforms import v2

from nnunet_iac.nnunet.cases.encoders import fit_channels

SCALE = (0.35, 1.0)
"""Share of an image that a random crop covers (ImageNet trainings use 0.08 to 1; medical encoders see whole organs)."""

DAMAGED = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises for files that are damaged, no images, or too large to be meant as images."""


@dataclass
class ImageFolder:
    """Classification of images; batches are a function of the seed and their index.

    Every image is cropped at random, perhaps mirrored, and z-scored. Images with more than 8 bits keep them. In a 3D
    patch an image stands still along the first axis.

    Attributes:
        folder: with one folder for each class; hidden ones are no classes.
        patch_size: of the batches, 2 or 3 axes.
        channels: of the batches; see :func:`~nnunet_iac.nnunet.cases.encoders.fit_channels`.
        batch_size: images.
        seed: of the batches.
        classes: names, in the order of the targets.
        unreadable: files that could not be read, by their path in the folder, with the reason; each is left out. That
            changes no other image of a batch, so a run that is continued sees the same batches.
    """

    folder: Path
    patch_size: tuple[int, ...]
    channels: int
    batch_size: int
    seed: int
    classes: tuple[str, ...] = field(init=False)
    unreadable: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Find the classes and their images.

        Raises:
            FileNotFoundError: if there is no such folder, or there are no images of two classes in it.
        """
        if not self.folder.is_dir():
            raise FileNotFoundError(f"--images: expected a folder, found none at {self.folder}")
        names = sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        numbers = {name: number for number, name in enumerate(names)}
        found = make_dataset(str(self.folder), numbers, IMG_EXTENSIONS, allow_empty=True) if names else []
        self._files = [(Path(path).relative_to(self.folder).as_posix(), target) for path, target in found]
        self.classes = tuple(names)
        if len({target for _, target in self._files}) < 2:
            raise FileNotFoundError(
                f"--images: expected images of at least two classes in {self.folder}, laid out as FOLDER/CLASS/IMAGE "
                f"({', '.join(IMG_EXTENSIONS)}), found {len(self._files)} images in the folders {names}"
            )
        self._crop = v2.Compose([v2.RandomResizedCrop(self.patch_size[-2:], SCALE), v2.RandomHorizontalFlip()])

    @property
    def description(self) -> dict[str, Any]:
        """What a state must agree on to be continued, as JSON has it."""
        listing = "\n".join(path for path, _ in self._files)
        return {
            "images": self.folder.resolve().name,
            "classes": len(self.classes),
            "files": len(self._files),
            "sha256_of_names": hashlib.sha256(listing.encode()).hexdigest(),
            "patch_size": list(self.patch_size),
            "batch_size": self.batch_size,
        }

    def heads(self, features: int, outputs: int) -> nn.ModuleList:
        """Return the layer between the pooled deepest features ``(B, 2 * features)`` and the classes."""
        return nn.ModuleList([nn.Linear(2 * features, len(self.classes))])

    def batch(self, index: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        """Return the head's number, images ``(B, C, *patch)`` and classes ``(B,)``.

        Raises:
            ValueError: if no image of the folder can be read.
        """
        draw = np.random.default_rng((self.seed, index))
        images: list[torch.Tensor] = []
        targets: list[int] = []
        while len(images) < self.batch_size:
            if len(self.unreadable) == len(self._files):
                raise ValueError(
                    f"--images: expected readable images in {self.folder}, none of the {len(self._files)} is: "
                    f"{some_unreadable(self.unreadable)}"
                )
            path, target = self._files[int(draw.integers(len(self._files)))]
            seed = int(draw.integers(2**31))
            if (image := self._read(path, seed)) is not None:
                images.append(image)
                targets.append(target)
        return 0, torch.stack(images), torch.tensor(targets)

    def loss(self, network: nn.Module, heads: Sequence[nn.Module], batch: tuple[int, Any, Any]) -> torch.Tensor:
        """Return the cross-entropy of a linear layer on mean and maximum of the deepest features (our choice).

        Instance normalisation gives every channel of every image the same mean: behind it the mean alone, which
        classifiers of other networks pool by, says next to nothing about an image.
        """
        head, images, targets = batch
        encoder: Any = network.encoder
        deepest = encoder(images)[-1].flatten(2)
        return nn.functional.cross_entropy(heads[head](torch.cat([deepest.mean(-1), deepest.amax(-1)], 1)), targets)

    def _read(self, path: str, seed: int) -> torch.Tensor | None:
        """Return an image ``(C, *patch)``, or None if it cannot be read; the seed is that of crop and mirroring."""
        if path in self.unreadable:
            return None
        try:
            image = _opened(self.folder / path, grey=self.channels == 1)
        except DAMAGED as error:
            self.unreadable[path] = str(error) or type(error).__name__
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pixels = v2.functional.to_dtype(v2.functional.to_image(self._crop(image)), torch.float32)
        pixels = (pixels - pixels.mean()) / pixels.std().clamp_min(1e-6)
        pixels = fit_channels(pixels[None], self.channels)[0]
        return pixels if len(self.patch_size) == 2 else pixels[:, None].expand(-1, self.patch_size[0], -1, -1)


def some_unreadable(unreadable: dict[str, str], shown: int = 3) -> str:
    """Return the first unreadable files in words.

    Example:
        >>> some_unreadable({"a/1.png": "truncated", "a/2.png": "no image"}, shown=1)
        'a/1.png (truncated) and 1 more'
    """
    listed = [f"{path} ({reason})" for path, reason in list(unreadable.items())[:shown]]
    more = len(unreadable) - shown
    return ", ".join(listed) + (f" and {more} more" if more > 0 else "")


def _opened(path: Path, *, grey: bool) -> Image.Image:
    """Return an image of 8 bits, or one of floating numbers if the file has more, which Pillow would clip to 255."""
    with Image.open(path) as file:
        if file.mode[0] not in "IF":
            return file.convert("L" if grey else "RGB")
        values = np.asarray(file, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("holds NaN or infinity")
    return Image.fromarray(values)
