"""`nnunet-iac zoo build` and what belongs to it on a data set that takes a second, and one finished build for all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_folders import Folders
from prepared_datasets import CASES, LABELS, write_json, write_prepared

from nnunet_iac.cli.main import main
from nnunet_iac.zoo.store import Zoo

SHORT = (
    "--full-epochs 1 --depth-epochs 1 --width-epochs 1 --iterations 1 --random-networks 1 --multiple 2 "
    "--candidates 4 --measured 4 --features 2 --device cpu"
).split()


def deepen(plans: dict[str, Any]) -> dict[str, Any]:
    """Plans with something to take away: two layers a stage."""
    arguments = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    arguments.update(n_conv_per_stage=[2, 2, 1], n_conv_per_stage_decoder=[1, 2])
    return plans


def prepare(
    folders: Folders, plans: dict[str, Any], labels: Mapping[str, Any] = LABELS, configuration: str = "2d", **more: Any
) -> None:
    """Four training cases and two validation cases of fold 0."""
    base = write_prepared(folders, deepen(plans), labels=labels, configuration=configuration, **more)
    written = json.loads((base / "nnUNetPlans.json").read_text())
    written["configurations"]["3d_fullres"]["spacing"] = [1.0, 1.0, 1.0]
    write_json(base / "nnUNetPlans.json", written)
    write_json(base / "splits_final.json", [{"train": CASES[:4], "val": CASES[4:]}])


def build(folders: Folders, *words: str, zoo: str = "zoo", configuration: str = "2d") -> int:
    where = ["--zoo", f"{folders.base}/{zoo}"]
    return main(["zoo", "build", "-d", "990", "-c", configuration, *where, *SHORT, *words])


def ids(zoo: Path) -> list[str]:
    """Ids are digests of content: equal ones mean equal bits."""
    return [entry.id for entry in Zoo(zoo).entries()]


def work(folders: Folders, configuration: str = "2d") -> Path:
    return folders.results / f"supernet__nnUNetPlans__{configuration}" / "fold_0"


def take_built(folders: Folders, plans: dict[str, Any], shelf: Path) -> Path:
    """Copy a finished build, made at the first call, into the folders of a test; return its zoo."""
    prepare(folders, plans)
    if not (shelf / "zoo").exists():
        assert build(folders) == 0
        shutil.copytree(folders.base / "zoo", shelf / "zoo")
        shutil.copytree(work(folders), shelf / "work")
    else:
        shutil.copytree(shelf / "zoo", folders.base / "zoo")
        shutil.copytree(shelf / "work", work(folders))
    return folders.base / "zoo"
