"""What an entry keeps when the same network is added again in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nnunet_iac.zoo import entries
from nnunet_iac.zoo.entry import Entry


def replacement(new: Entry, row: Sequence[object], *, keep_name: bool) -> Entry:
    """Return what takes the place of a row: the new entry, with the old licence where it has none.

    Who adds a network again for its scores does not say its licence again, and does not mean to withdraw it.

    Args:
        new: the entry.
        row: of the index, with the same id; of a damaged one nothing is believed.
        keep_name: keep the old name too, because nobody gave another one.
    """
    try:
        old = entries.parse(row)
    except ValueError:
        return new
    return replace(new, licence=new.licence or old.licence, name=old.name if keep_name else new.name)
