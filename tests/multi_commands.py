"""`nnunet-iac zoo build --multi` on data sets that take a second: classes and regions, of one image channel each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_folders import Folders
from prepared_datasets import CASES, LABELS, REGIONS, write_json, write_prepared

from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.zoo_entries.search_import import KIND
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.store import Zoo

FIRST, SECOND = "Dataset991_First", "Dataset992_Second"
SETTINGS = ["search.warmup_epochs=1", "cell.nodes=2"]
SHORT = ["--epochs", "3", "--iterations", "1", "--device", "cpu", "--set", *SETTINGS]


def prepare(folders: Folders, plans: dict[str, Any], name: str, labels: Any = LABELS, **more: Any) -> Path:
    """Four training cases and two validation cases of fold 0."""
    base = write_prepared(folders, plans, name, labels=labels, **more)
    write_json(base / "splits_final.json", [{"train": CASES[:4], "val": CASES[4:]}])
    return base


def prepare_two(folders: Folders, plans: dict[str, Any]) -> None:
    """Three classes, and two regions."""
    prepare(folders, plans, FIRST)
    prepare(folders, plans, SECOND, REGIONS)


def build(folders: Folders, *words: str, zoo: str = "zoo") -> int:
    """Search on both; words come last, so that they win."""
    where = ["--zoo", f"{folders.base}/{zoo}"]
    return main(["zoo", "build", "--multi", "-d", "991", "992", "-c", "2d", *where, *SHORT, *words])


def work(folders: Folders) -> Path:
    return folders.results.parent / FIRST / "multi_991_992__nnUNetPlans__2d" / "fold_0"


def found(folders: Folders, zoo: str = "zoo") -> tuple[Zoo, Entry]:
    """The zoo with its one entry."""
    made = Zoo(folders.base / zoo)
    (entry,) = made.entries()
    assert entry.kind == KIND
    return made, entry
