"""Batches of several data sets by turns: batch ``b`` is of data set ``b mod N``, its number there ``b // N``.

Every data set gives the same number of batches, whatever its size, so that the largest does not rule the search. A
stream that is opened at batch ``b`` goes on exactly as one that was opened at 0: no state but the number.

Our choice: arXiv 2407.20279 does not say how data sets are sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nnunet_iac.search.bilevel import Batch
from nnunet_iac.search.heads import OfDataset


class Turns:
    """Endless iterator over batches of several data sets, each with its target as an :class:`OfDataset`.

    Args:
        openers: for each data set, ``open(start)`` returns its own batches from number ``start`` on; with an optional
            ``_finish``.
        start: number of the first batch.
        names: of the data sets; each batch gets that of its own as ``dataset``. Without them it gets none.

    Example:
        >>> def numbers(name):
        ...     return lambda start: ({"data": f"{name}{b}", "target": name} for b in range(start, 99))
        >>> [next(turns)["data"] for turns in [Turns([numbers("a"), numbers("b")], 3)] for _ in range(3)]
        ['b1', 'a2', 'b2']
    """

    def __init__(self, openers: Sequence[Callable[[int], Any]], start: int = 0, names: Sequence[str] = ()) -> None:
        count = len(openers)
        self.index, self.names = start, tuple(names)
        # Of the batches before ``start``, ``start // count`` are of every data set, one more of those that had a turn.
        self._streams = [open_at((start + count - 1 - number) // count) for number, open_at in enumerate(openers)]

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        number = self.index % len(self._streams)
        batch = next(self._streams[number])
        self.index += 1
        named = {"dataset": self.names[number]} if self.names else {}
        return {**batch, **named, "target": OfDataset(number, batch["target"])}

    def _finish(self) -> None:
        """Stop the workers of all data sets, as batchgenerators' own iterators do."""
        finish(*self._streams)


def finish(*streams: object) -> None:
    """Stop the processes that make batches, of streams that have some.

    ``_finish`` is what batchgenerators' iterators call it; they have no public name for it.

    Example:
        >>> finish(iter(()), Turns([]))
    """
    for stream in streams:
        if hasattr(stream, "_finish"):
            stream._finish()
