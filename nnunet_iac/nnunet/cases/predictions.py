"""Find predicted masks in nnU-Net's folders: folds, models, plain folders, several runs of one method."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_iac.nnunet.files.label_set import read_object


@dataclass(frozen=True)
class Predictions:
    """The masks of one trained model.

    Attributes:
        home: the folder with nnU-Net's ``dataset.json`` and ``plans.json``, if there are such.
        label: short name of what was given, ``nnUNetTrainer__nnUNetPlans__2d/fold_0``.
        folders: folders of masks.
    """

    home: Path
    label: str
    folders: tuple[Path, ...]

    @classmethod
    def at(cls, path: Path) -> Predictions:
        """Find the masks in a fold folder, a model folder (all validated folds) or a plain folder of masks.

        Raises:
            FileNotFoundError: if there is no such folder, or no fold in it was validated.
        """
        path = Path(os.path.abspath(path))
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: expected a folder of a model, of a fold or of masks, found none")
        if path.name == "validation" and path.parent.name.startswith("fold_"):
            path = path.parent
        is_fold = path.name.startswith("fold_")
        folds = [path] if is_fold else sorted(fold for fold in path.glob("fold_*") if fold.is_dir())
        if not folds:
            return cls(path, path.name, (path,))
        validated = tuple(fold / "validation" for fold in folds if (fold / "validation").is_dir())
        if not validated:
            raise FileNotFoundError(
                f"{path}: expected a validated fold, found no folder validation; run nnUNetv2_train … --val"
            )
        home = path.parent if is_fold else path
        return cls(home, f"{home.name}/{path.name}" if is_fold else home.name, validated)

    def masks(self, ending: str) -> dict[str, Path]:
        """Return the file of each case.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if a case was predicted in two folds.
        """
        found: dict[str, Path] = {}
        for path in (path for folder in self.folders for path in sorted(folder.glob(f"*{ending}"))):
            case = path.name.removesuffix(ending)
            if case in found:
                raise ValueError(
                    f"{self.home}: expected one prediction of case {case}, got {found[case]} and {path}; give the "
                    "folder of one fold instead of the model's"
                )
            found[case] = path
        if not found:
            raise FileNotFoundError(f"{self.folders[0]}: expected masks *{ending}, found none; was the fold validated?")
        return found

    @property
    def dataset(self) -> str | None:
        """Name of the data set, None for a folder that does not say."""
        path = self.home / "plans.json"
        named = read_object(path).get("dataset_name") if path.is_file() else None
        fallback = self.home.parent.name
        return str(named) if named else fallback if fallback.startswith("Dataset") else None


@dataclass(frozen=True)
class Arm:
    """One thing that is compared: the runs (seeds) of one method."""

    name: str
    runs: tuple[Predictions, ...]


def find_arms(arguments: Sequence[str], names: Sequence[str] | None = None) -> tuple[Arm, ...]:
    """Return the arms that the command line names; folders joined by commas are the runs of one arm.

    Without names, an arm is called after what tells it from the others: trainer, model folder or fold folder.

    Raises:
        FileNotFoundError: from :meth:`Predictions.at`.
        ValueError: if there are less than two arms, or the names do not fit them.
    """
    if len(arguments) < 2:
        raise ValueError(f"folders: expected a control and at least one other, got {list(arguments)}")
    if names is not None and (len(names) != len(arguments) or len(set(names)) < len(names)):
        raise ValueError(f"--names: expected {len(arguments)} different names, one for each folder, got {list(names)}")
    if strange := [name for name in names or () if not name.isprintable() or not name.strip()]:
        raise ValueError(f"--names: expected text in one line without control characters, got {strange}")
    runs = [tuple(Predictions.at(Path(part)) for part in _parts(argument)) for argument in arguments]
    return tuple(Arm(name, of_arm) for name, of_arm in zip(names or _default_names(runs), runs, strict=True))


def _parts(argument: str) -> list[str]:
    return [argument] if Path(argument).exists() else [part for part in argument.split(",") if part]


def _default_names(runs: Sequence[Sequence[Predictions]]) -> list[str]:
    first = [of_arm[0] for of_arm in runs]
    levels = [
        [run.home.name.split("__")[0] for run in first],
        [run.home.name for run in first],
        [run.label for run in first],
        [str(run.folders[0]) for run in first],
    ]
    names = next((level for level in levels if len(set(level)) == len(level)), None)
    if names is None:
        names = [f"{name} ({number})" for number, name in enumerate(levels[0], start=1)]
    return names
