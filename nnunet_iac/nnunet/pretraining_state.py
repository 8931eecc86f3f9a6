"""The state of a pretraining on disk: one file with everything that a killed run needs, written whole each epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from nnunet_iac.atomic import replacing

STATE, CURVE, RESULT, CHECKPOINT, PICTURE = (
    "pretraining_state.pt",
    "pretraining.jsonl",
    "pretraining.json",
    "checkpoint_pretrained.pth",
    "pretraining.png",
)
"""Files of a pretraining; all but the first follow from the first."""

FILES = (STATE, CHECKPOINT, RESULT, CURVE, PICTURE)

LOCK = "pretraining.lock"

SCHEMA = 1


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder while a pretraining writes to it; the operating system frees that of a process that dies.

    Raises:
        TimeoutError: at once, if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / LOCK))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TimeoutError(
            f"-o: expected a folder that no other process pretrains in, {folder} is held by one; wait for it, or give "
            "another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_state(folder: Path, identity: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Write the state whole or not at all.

    Args:
        folder: of the pretraining.
        identity: what a run must agree on to go on from it, as JSON has it.
        content: tensors and plain values.
    """
    with replacing(folder / STATE) as temporary:
        torch.save({"schema": SCHEMA, "identity": json.dumps(identity), **content}, temporary)


def read_state(folder: Path, identity: Mapping[str, Any], device: torch.device) -> dict[str, Any] | None:
    """Read the state without running code from it; None if there is none.

    Args:
        folder: of the pretraining.
        identity: of the run that wants to go on.
        device: where to put the tensors.

    Raises:
        ValueError: if it is damaged, of another version, or of another pretraining; the message says what differs.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state = dict(torch.load(path, map_location=device, weights_only=True))
        version, known = state["schema"], json.loads(state["identity"])
    except Exception as error:  # torch.load raises many kinds for damaged files
        raise damaged(folder, error) from error
    if version != SCHEMA:
        raise ValueError(f"{path}: expected version {SCHEMA} of the state, got {version}; {_REMEDY}")
    different = list(_differences("", known, json.loads(json.dumps(identity))))
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise ValueError(
            f"{path}: expected the state of this pretraining, got that of another one: {'; '.join(different[:3])}"
            f"{more}. Give its arguments again, or {_REMEDY}"
        )
    return state


def damaged(folder: Path, error: Exception) -> ValueError:
    """Return the error for a state that cannot be used."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(
        f"{folder / STATE}: expected the state of a pretraining, got a damaged file ({reason}); {_REMEDY}"
    )


def remove_files(folder: Path) -> None:
    """Remove the files of a pretraining, the state first, so that a new one does not mix with it."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written files that a killed process left under temporary names; a state is large."""
    for name in FILES:
        for path in folder.glob(f".{name}.*.tmp"):
            path.unlink(missing_ok=True)


_REMEDY = "start anew with --overwrite, or give another folder with -o"


def _differences(name: str, known: Any, wanted: Any) -> Iterator[str]:
    if isinstance(known, dict) and isinstance(wanted, dict):
        for key in sorted({*known, *wanted}):
            yield from _differences(f"{name}.{key}".lstrip("."), known.get(key), wanted.get(key))
    elif known != wanted:
        yield f"{name} is {known!r} there, {wanted!r} here"
