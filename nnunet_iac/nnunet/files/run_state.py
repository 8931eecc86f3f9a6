"""A long run's state on disk: one file with everything that a killed run needs, written whole, read without its pickle.

A state carries an identity, and only a run with an equal one goes on from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from nnunet_iac.atomic import replacing
from nnunet_iac.json_files import parse_json
from nnunet_iac.search.whole_files import check_whole

LOCK = "run.lock"

SCHEMA = 1

ANEW = "start anew with --overwrite, or give another folder with -o"
"""What helps where a state cannot be used."""


@contextmanager
def alone_in(folder: Path, *, name: str = "-o", remedy: str = "wait for it, or give another folder") -> Iterator[None]:
    """Hold a folder while a run writes to it; the operating system frees that of a process that dies.

    Args:
        folder: made if there is none.
        name: of the argument that led to it, for the message.
        remedy: what to do if another process holds it.

    Raises:
        TimeoutError: at once, if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / LOCK))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TimeoutError(
            f"{name}: expected a folder that no other process works in, {folder} is held by one; {remedy}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_state(path: Path, identity: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Write a state whole or not at all.

    Args:
        path: the file.
        identity: what a run must agree on to go on from it, as JSON has it.
        content: tensors and plain values.
    """
    with replacing(path) as temporary:
        torch.save({"schema": SCHEMA, "identity": json.dumps(identity), **content}, temporary)


def read_state(
    path: Path, identity: Mapping[str, Any], device: torch.device | str = "cpu", *, remedy: str = ANEW
) -> dict[str, Any] | None:
    """Read a state without running code from it; None if there is none.

    Args:
        path: the file.
        identity: of the run that wants to go on.
        device: where to put the tensors.
        remedy: what to do if the file cannot be used.

    Raises:
        ValueError: if it is damaged, of another version, or of another run; the message says what differs.
    """
    if not path.is_file():
        return None
    try:
        check_whole(path)
        state = dict(torch.load(path, map_location=device, weights_only=True))
        version, known = state["schema"], parse_json(state["identity"])
    except Exception as error:  # zipfile and torch.load raise many kinds for damaged files
        raise damaged(path, error, remedy) from error
    if version != SCHEMA:
        raise ValueError(f"{path}: expected version {SCHEMA} of the state, got {version}; {remedy}")
    different = list(differences(known, json.loads(json.dumps(identity))))
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise ValueError(
            f"{path}: expected the state of this run, got that of another one: {'; '.join(different[:3])}{more}. Give "
            f"its arguments again, or {remedy}"
        )
    return state


def damaged(path: Path, error: Exception, remedy: str = ANEW) -> ValueError:
    """Return the error for a state that cannot be used."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(f"{path}: expected the state of a run, got a damaged file ({reason}); {remedy}")


def remove_files(folder: Path, patterns: tuple[str, ...]) -> None:
    """Remove the files of a run, in the given order, and what was half-written of them."""
    for pattern in patterns:
        for path in [*folder.glob(pattern), *folder.glob(f".{pattern}.*.tmp")]:
            path.unlink(missing_ok=True)


def remove_leftovers(folder: Path, patterns: tuple[str, ...]) -> None:
    """Remove the half-written files that a killed process left under temporary names; a state is large."""
    for pattern in patterns:
        for path in folder.glob(f".{pattern}.*.tmp"):
            path.unlink(missing_ok=True)


def differences(known: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """Yield in words where two values of JSON differ.

    Example:
        >>> list(differences({"a": {"b": 1}}, {"a": {"b": 2}}))
        ['a.b is 1 there, 2 here']
    """
    if isinstance(known, dict) and isinstance(wanted, dict):
        for key in sorted({*known, *wanted}):
            yield from differences(known.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
    elif known != wanted:
        yield f"{name} is {known!r} there, {wanted!r} here"
