"""What ``dataset.json`` says about masks: classes or regions, the label to ignore, the file ending."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_iac.json_files import read_json


@dataclass(frozen=True)
class LabelSet:
    """What ``dataset.json`` says about the masks.

    Attributes:
        classes: label values of each foreground class or region, by name.
        ignore: label value of voxels that nobody annotated, None if there is none.
        ending: of the files.

    Example:
        >>> sorted(LabelSet({"whole": (1, 2), "core": (2,)}, 3, ".nii.gz").known)
        [0, 1, 2, 3]
    """

    classes: dict[str, tuple[int, ...]]
    ignore: int | None
    ending: str

    @property
    def known(self) -> frozenset[int]:
        """All label values that may occur in a mask, background included."""
        values = {0, *(value for region in self.classes.values() for value in region)}
        return frozenset(values if self.ignore is None else values | {self.ignore})


def read_label_set(path: Path) -> LabelSet:
    """Read ``dataset.json``; what is called background is no class.

    Raises:
        ValueError: if the file is damaged or names no foreground class.
    """
    content = read_object(path)
    try:
        values = {str(name): _values(value) for name, value in content["labels"].items()}
        ending = str(content["file_ending"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path}: expected nnU-Net's labels and file_ending, got {error!r}; restore the file"
        ) from error
    ignore = values.pop("ignore", None)
    values.pop("background", None)
    if not values:
        raise ValueError(f"{path}: expected at least one foreground class in labels, got none; restore the file")
    return LabelSet(values, None if ignore is None else ignore[0], ending)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ValueError: if the file is not JSON or holds something else.
    """
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got a damaged file ({error}); restore it") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(content).__name__}; restore it")
    return content


def read_dataset_json(path: Path) -> dict[str, Any]:
    """Return the content of ``dataset.json``, whose labels are checked as :func:`read_label_set` does.

    Raises:
        ValueError: as :func:`read_label_set`.
    """
    read_label_set(path)
    return read_object(path)


def _values(value: Any) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list) else (value,)
    if not values or not all(isinstance(v, (int, float)) and not isinstance(v, bool) and v == int(v) for v in values):
        raise ValueError(f"expected whole numbers for each label, got {value!r}")
    return tuple(int(v) for v in values)
