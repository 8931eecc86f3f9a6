"""What stays known of an entry that is added again: a licence and a name are not lost by not saying them again."""

from __future__ import annotations

from dataclasses import replace

from nnunet_iac.zoo import entries
from nnunet_iac.zoo.schema import transaction
from nnunet_iac.zoo.store import Added, Zoo


def with_licence(zoo: Zoo, added: Added, licence: str | None) -> Added:
    """Say under which licence an entry that was there already may be used, if nobody has said so yet.

    Args:
        zoo: where it lies.
        added: what became of it when it was added.
        licence: of the weights; None says nothing.

    Returns:
        ``added``, or what the zoo holds now with ``licensed``.

    Raises:
        FileNotFoundError: if there is no zoo.
        ValueError: if the licence is no text, or the entry is damaged.

    Example:
        >>> import tempfile, torch
        >>> from nnunet_iac.zoo.entry import Description
        >>> zoo = Zoo.create(tempfile.mkdtemp())
        >>> about = Description(kind="network", name="a", dataset="Dataset001_A", plans={}, configuration="2d",
        ...     trainer="nnUNetTrainer", channels=("CT",), spacing=(1, 1), patch_size=(64, 64))
        >>> added = zoo.add(about, {"w": torch.ones(3)})
        >>> with_licence(zoo, added, "CC0-1.0").what, zoo.entries()[0].licence
        ('licensed', 'CC0-1.0')
    """
    if licence is None or added.entry.licence is not None:
        return added
    with zoo.locked() as (_, connection):
        rows = entries.raw_rows(connection, added.entry.id)
        there = entries.parse(rows[0]) if rows else None
        if there is None or there.licence is not None:  # another process was faster
            return Added(there or added.entry, added.what)
        licensed = replace(there, licence=licence)
        with transaction(connection):
            entries.insert(connection, licensed)
    return Added(licensed, "licensed")
