"""What lies beside a fold's checkpoint: the data set's fingerprint, and the search and genotype of its cells.

These files may have been written by anybody; what has another type than nnU-Net gives it is named with its file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_iac.nnunet.files.label_set import read_object
from nnunet_iac.nnunet.files.model_folder import stored_genotype

FINGERPRINT, RESULT = "dataset_fingerprint.json", "search_result.json"

SEARCH_FACTS = ("status", "epochs", "seconds", "seed", "decided_edges", "edges")
"""What an entry keeps of ``search_result.json``."""


def fold_facts(fold: Path, configuration: str) -> dict[str, Any]:
    """Return the facts of a fold's entry; what is not there is left out.

    Raises:
        ValueError: if a file is damaged; the message names it.
    """
    facts: dict[str, Any] = {}
    if fingerprint := _fingerprint(fold.parent / FINGERPRINT):
        facts["fingerprint"] = fingerprint
    if searched := object_or_nothing(fold / RESULT):
        facts["search"] = {name: searched.get(name) for name in SEARCH_FACTS}
    genotype = stored_genotype(fold.parent, configuration)
    if genotype is not None:
        facts["genotype"] = genotype.to_dict()
    return facts


def object_or_nothing(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one if there is no file.

    Raises:
        ValueError: if the file holds something else.
    """
    return read_object(path) if path.is_file() else {}


def _fingerprint(path: Path) -> dict[str, Any]:
    content = object_or_nothing(path)
    if not content:
        return {}
    found: dict[str, Any] = {}
    for name, kind, words in (
        ("shapes_after_crop", list, "a list"),
        ("spacings", list, "a list"),
        ("foreground_intensity_properties_per_channel", dict, "an object"),
    ):
        value = found[name] = content.get(name, kind())
        if not isinstance(value, kind):
            raise ValueError(
                f"{path}: expected {name} to be {words}, got {value!r:.80}; restore the file, or extract the "
                "fingerprint again (nnUNetv2_extract_fingerprint)"
            )
    return {
        "cases": len(found["shapes_after_crop"]),
        "shapes_after_crop": found["shapes_after_crop"],
        "spacings": found["spacings"],
        "intensities": found["foreground_intensity_properties_per_channel"],
    }
