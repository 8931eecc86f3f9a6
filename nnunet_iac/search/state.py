"""The state of a running search on disk: one file, written whole after every epoch, read without unpickling code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nnunet_iac.atomic import replacing
from nnunet_iac.search.stability import StabilityState
from nnunet_iac.search.whole_files import check_whole

SCHEMA = 2


def save_state(path: Path, content: dict[str, Any]) -> None:
    """Write the state of a search, whole or not at all.

    Args:
        path: the file.
        content: tensors, numbers, strings, and lists and dictionaries of them.
    """
    with replacing(path) as temporary:
        torch.save({"schema": SCHEMA, **content}, temporary)


def load_state(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Read the state of a search that must belong to this run.

    Args:
        path: the file.
        identity: what the search depends on (settings, host, seed ...); must equal what the file recorded.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, of another schema version, or of another search; it is left as it is.
    """
    content = read_content(path)
    recorded = content.get("identity", {})
    if not isinstance(recorded, dict):
        raise ValueError(
            f"search state: expected an identity that is a record, got {recorded!r} in {path}; search again without --c"
        )
    different = sorted(k for k in {*recorded, *identity} if recorded.get(k) != identity.get(k))
    if different:
        changes = ", ".join(f"{k}: was {recorded.get(k)!r}, is {identity.get(k)!r}" for k in different)
        raise ValueError(
            f"search state: expected the search that is in {path}, but this one differs ({changes}); "
            "restore the settings, or start the search again without --c"
        )
    return content


def read_content(path: Path) -> dict[str, Any]:
    """Read the state of any search, without running code from it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or of another schema version; it is left as it is.
    """
    if not path.is_file():
        raise FileNotFoundError(f"search state: expected the file {path}, found none; start the search without --c")
    try:
        check_whole(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile and torch.load raise many kinds for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"search state: expected a whole file, got a damaged one at {path} ({reason}); "
            "move it away and start the search again without --c"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"search state: expected schema {SCHEMA}, got {found} in {path}; search again without --c")
    return content


def pack_stability(state: StabilityState) -> dict[str, Any]:
    """Return the rule's memory as tensors and plain values."""
    return asdict(state)


def unpack_stability(content: dict[str, Any]) -> StabilityState:
    """Return the rule's memory from :func:`pack_stability`."""
    return StabilityState(**content)
