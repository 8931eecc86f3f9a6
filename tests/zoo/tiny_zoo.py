"""Entries of a few numbers, and a zoo with two of them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import torch

from nnunet_iac.zoo.entry import Description, Score
from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.store import Zoo


def about(**changes: Any) -> Description:
    """What is said about a network in 2D for two channels."""
    known: dict[str, Any] = {
        "kind": "network",
        "name": "tiny",
        "dataset": "Dataset990_Tiny",
        "plans": {"plans_name": "nnUNetPlans", "configurations": {"2d": {"patch_size": [8, 8]}}},
        "configuration": "2d",
        "trainer": "nnUNetTrainer",
        "labels": ("background", "RV"),
        "channels": ("T1", "T2"),
        "spacing": (1.5, 1),
        "patch_size": (8, 8),
        "dataset_json": {"labels": {"whole": [2, 1], "core": [2]}},
        "scores": (Score("Dice", 0.75, "4 validation cases of fold 0"), Score("Dice", 0.5, "the same", "RV")),
        "provenance": {"source": {"sha256": "0" * 64}, "epochs": 3},
        "licence": "CC-BY-4.0",
        "facts": {"genotype": None},
    }
    return Description(**{**known, **changes})


def tensors(value: float = 1.0) -> dict[str, torch.Tensor]:
    """Weights of three types."""
    return {
        "a.weight": torch.full((2, 3), value),
        "half": torch.full((4,), value, dtype=torch.bfloat16),
        "steps": torch.tensor(7),
    }


def filled(folder: Path) -> Zoo:
    """A zoo with a network in 2D and one in 3D."""
    zoo = Zoo.create(folder)
    zoo.add(about(), tensors())
    cube = {"name": "cube", "dataset": "Dataset991_Other", "channels": ("CT",), "configuration": "3d_fullres"}
    zoo.add(about(**cube, spacing=(2, 1, 1), patch_size=(4, 8, 8), licence=None), tensors(2.0))
    return zoo


def forge(folder: Path, identity: str, **changes: Any) -> None:
    """Change an entry's record and its digest with it, as the author of a foreign zoo can."""
    connection = sqlite3.connect(folder / FILE)
    (text,) = connection.execute("SELECT record FROM entries WHERE id = ?", (identity,)).fetchone()
    record = json.dumps({**json.loads(text), **changes})
    values = (record, hashlib.sha256(record.encode()).hexdigest(), identity)
    connection.execute("UPDATE entries SET record = ?, digest = ? WHERE id = ?", values)
    connection.commit()
    connection.close()


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the lock, by name."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "zoo.lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def flip(path: Path, place: int = -1) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
