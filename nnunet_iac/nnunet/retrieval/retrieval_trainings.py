"""The short trainings in a retrieval's folder: kept where they are of its candidates, removed where not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.files.label_set import read_object

TRAININGS, CANDIDATES = "trainings", "candidates.json"
"""In the folder of a retrieval: the candidates' short trainings, and which candidates these are."""


def agree_on_trainings(folder: Path, wanted: Mapping[str, Any], replacing: Callable[[str], None] | None) -> None:
    """Write down what the trainings in the folder are of; those of others, of a run that was killed, are in the way.

    They are removed if there is somebody to be told, else it is an error.

    Args:
        folder: of the retrieval.
        wanted: what the trainings are of, as JSON has it.
        replacing: receives a line when trainings of others are removed; None to refuse.

    Raises:
        ValueError: if there are trainings of others, and ``replacing`` is None.
    """
    path = folder / CANDIDATES
    known = read_object(path) if path.is_file() else None
    if known == wanted:
        return
    if known is not None:
        if replacing is None:
            raise ValueError(
                f"-o: expected the trainings of these candidates in {folder}, found those of others; give "
                "--overwrite, or another name"
            )
        different = [name for name in wanted if known.get(name) != wanted[name]]
        replacing(
            f"the short trainings of an interrupted retrieval are removed and done anew: other {', '.join(different)}."
        )
        remove_trainings(folder)
    write_json(path, wanted)


def remove_trainings(folder: Path) -> None:
    """Remove the short trainings of an earlier retrieval; what it found stays until something else is found."""
    shutil.rmtree(folder / TRAININGS, ignore_errors=True)
    for path in folder.glob("candidate_*.pth"):
        path.unlink()
    # The last: whoever is killed before still finds trainings of others, and does not take the rest for its own.
    (folder / CANDIDATES).unlink(missing_ok=True)
