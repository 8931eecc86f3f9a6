"""What the actions of ``nnunet-iac zoo`` say: what became of each entry, and which licences are missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_iac.zoo.entry import Entry
    from nnunet_iac.zoo.store import Added

_WHAT = {
    "added": "",
    "replaced": ": scores and facts replaced",
    "kept": " is there already: kept as it is",
    "licensed": " is there already: its licence is known now",
}

_ADD, _SEARCHES = "zoo add FOLDER --licence TEXT --replace", "zoo add FOLDER --searches --licence TEXT --replace"
_BUILD = "the zoo build or zoo build-all command that made them, again with --c --licence TEXT"
_REMEDIES = {"network": _ADD, "search supernet": _SEARCHES, "meta-space": "zoo fit --licence TEXT"}


def say_added(added: Added, *, with_kind: bool = False) -> None:
    """Print a line on an entry as soon as it is in the zoo, also where the output goes into a pipe."""
    kind = f"{added.entry.kind}: " if with_kind else ""
    print(f"{added.entry.id}  {kind}{added.entry.name}{_WHAT[added.what]}", flush=True)


def warn_about_licences(entries: Sequence[Entry]) -> None:
    """Name the entries of which nobody said how they may be used, and the commands that say it."""
    silent = [entry for entry in entries if entry.licence is None]
    if silent:
        names = ", ".join([*(entry.id for entry in silent[:3]), *["…"] * (len(silent) > 3)])
        remedies = dict.fromkeys(_remedy(entry) for entry in silent)
        print(
            f"WARNING: nobody said under which licence {len(silent)} of them may be used ({names}); where they were "
            f"made, nnunet-iac says it with: {'; '.join(remedies)}",
            file=sys.stderr,
        )


def _remedy(entry: Entry) -> str:
    # Features come with a build, or with the searches of a data set; who made them says which.
    if entry.kind == "dataset features" and entry.trainer == "nnunet-iac":
        return _SEARCHES
    return _REMEDIES.get(entry.kind, _BUILD)
