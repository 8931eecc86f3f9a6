"""The folders that nnU-Net's variables name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DATASET = "Dataset990_Tiny"


@dataclass(frozen=True)
class Folders:
    """What `nnUNet_raw`, `nnUNet_preprocessed` and `nnUNet_results` name, for one data set."""

    base: Path

    @property
    def raw(self) -> Path:
        return self.base / "raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.base / "preprocessed" / DATASET

    @property
    def results(self) -> Path:
        return self.base / "results" / DATASET

    @property
    def variables(self) -> dict[str, str]:
        return {f"nnUNet_{name}": str(self.base / name) for name in ("raw", "preprocessed", "results")}
