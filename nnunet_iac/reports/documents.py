"""Read JSON artefacts with errors that name the file, what was expected and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_iac.json_files import read_json

SCHEMA = 1
"""Version of the artefacts of a search that this package reads."""


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ValueError: if the file is not UTF-8 JSON or holds something other than an object.
        OSError: from the file system.
    """
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(
            f"{path}: expected a JSON object, got a file that does not parse ({error}); "
            "if a run is writing it now, try again in a moment, otherwise restore or delete it"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(content).__name__}; restore or delete the file")
    return content


def check_schema(record: Mapping[str, Any], where: str) -> None:
    """Check the version of an artefact.

    Raises:
        ValueError: if it is not :data:`SCHEMA`.

    Example:
        >>> check_schema({"schema": 1}, "search_result.json")
    """
    if record.get("schema") != SCHEMA:
        raise ValueError(
            f"{where}: expected schema {SCHEMA}, got {record.get('schema')!r}; "
            "it was written by another version of nnunet-iac: report with that version, or search again"
        )


def check_keys(record: Mapping[str, Any], required: tuple[str, ...], where: str) -> None:
    """Check that a record has the keys that a report needs (more keys are allowed).

    Raises:
        ValueError: naming all missing keys together.

    Example:
        >>> check_keys({"a": 1, "more": 2}, ("a",), "file")
    """
    if missing := [key for key in required if key not in record]:
        raise ValueError(
            f"{where}: expected the keys {list(required)}, missing: {missing}; "
            "the file is damaged or of another version of nnunet-iac: restore it, or search again"
        )


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted keys; flat ones come back as they are.

    Example:
        >>> flatten({"search": {"tau": 0.01, "host": "frozen"}, "cell.nodes": 4})
        {'search.tau': 0.01, 'search.host': 'frozen', 'cell.nodes': 4}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
