"""Weights as files named by their content: ``weights/<sha256>.safetensors``.

The hash is that of the whole file, so what was read is checked before it is understood. Equal tensors make equal bytes
and are stored once. Nothing is pickled or unpickled.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from nnunet_iac.atomic import write_bytes
from nnunet_iac.zoo.shown import escaped

FOLDER = "weights"
"""Folder of the weights in a zoo."""

HASH = re.compile(r"[0-9a-f]{64}")
"""A SHA-256 in hexadecimal."""

NAME = re.compile(rf"({HASH.pattern})\.safetensors")
"""File name of weights; the group is the SHA-256."""


LOST = "the index was lost: restore zoo.sqlite, such as that of an export, or move the folder away"
"""What to do about weights without an index."""


def is_hash(value: object) -> TypeGuard[str]:
    """Whether it is a SHA-256; an index may come from elsewhere and hold anything.

    Example:
        >>> is_hash("0" * 64), is_hash("../" * 20)
        (True, False)
    """
    return isinstance(value, str) and HASH.fullmatch(value) is not None


def weights_name(sha256: str) -> str:
    """Return where weights lie in a zoo, as a path with forward slashes.

    Raises:
        ValueError: if it is no SHA-256, which could lead out of the zoo.

    Example:
        >>> weights_name("0" * 64)[:14]
        'weights/000000'
    """
    if not is_hash(sha256):
        raise ValueError(
            f"weights: expected a SHA-256 of 64 digits 0-9 and a-f as their name, got {sha256!r}; the index is damaged "
            "or was changed: run nnunet-iac zoo verify"
        )
    return f"{FOLDER}/{sha256}.safetensors"


def to_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return tensors as the content of a file; types (``bfloat16`` too) are kept.

    Tensors that share memory are stored each by itself, so take shared ones once.

    Raises:
        ValueError: if there are none, or one cannot be stored.

    Example:
        >>> content = to_bytes({"a": torch.ones(2, dtype=torch.bfloat16)})
        >>> from_bytes(content)["a"]
        tensor([1., 1.], dtype=torch.bfloat16)
    """
    if not tensors:
        raise ValueError("weights: expected at least one tensor, got none")
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_meta:
            raise ValueError(f"weights: expected dense tensors, got a {type(tensor).__name__} at {name!r}")
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    try:
        return save(own)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"weights: expected tensors that safetensors can hold, got {error!r}") from error


def from_bytes(content: bytes) -> dict[str, torch.Tensor]:
    """Return the tensors in the content of a file.

    Raises:
        ValueError: if it is not a safetensors file.
    """
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"weights: expected a safetensors file, got a damaged one ({escaped(str(error))})") from error


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def check_content(content: bytes, sha256: str, where: str) -> None:
    """Check that weights are what their name says.

    Raises:
        ValueError: if not; the message names the file.
    """
    found = sha256_of(content)
    if found != sha256:
        raise ValueError(
            f"weights: expected content with the SHA-256 {sha256}, got {found} in {where}; the file is corrupt or was "
            "tampered with. Add the network again, or import it from an export"
        )


def store(folder: Path, content: bytes) -> bool:
    """Write weights into a zoo's folder; return whether a file was written.

    A file that is there and whole stays; a corrupt one is replaced.
    """
    path = folder / weights_name(sha256_of(content))
    if path.is_file() and path.read_bytes() == content:
        return False
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, content)
    _flush_folder(path.parent)
    return True


def remove(folder: Path, sha256: str) -> None:
    """Delete weights if they are there."""
    (folder / weights_name(sha256)).unlink(missing_ok=True)


def has_weights(folder: Path) -> bool:
    """Return whether weights lie in a zoo's folder, whatever their names say."""
    return any((folder / FOLDER).glob("*.safetensors"))


def stored_hashes(folder: Path) -> set[str]:
    """Return the hashes that the files in a zoo's folder are named by."""
    names = (NAME.fullmatch(path.name) for path in (folder / FOLDER).glob("*.safetensors"))
    return {match[1] for match in names if match}


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
