"""Batches that are a pure function of (seed, stream, index), whatever the number of worker processes.

nnU-Net's loaders draw from the global generators of NumPy, Python and torch, which its workers never seed, so no two
runs see the same data. Here every batch seeds them first. Three things follow: a search or training that was
killed and resumed goes on with exactly the batches it would have seen; worker processes do not change the order
(batchgenerators' ``MultiThreadedAugmenter`` collects them in turn); and runs that differ in their cells only are
compared on the same batches.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter


class BatchMaker(Protocol):
    """nnU-Net's data loader, as far as it is needed here."""

    def generate_train_batch(self) -> dict[str, Any]:
        """Draw one batch."""


class SeededBatches:
    """Wrap a loader of nnU-Net; iterating yields batch ``start``, ``start + 1`` and so on without end.

    Args:
        loader: draws a batch from the global generators.
        seed: of the run.
        stream: number of the stream (training, validation, ...), so that streams differ.
        start: index of the first batch.
        workers: how many processes iterate copies of this object; each takes every ``workers``-th batch.
    """

    def __init__(self, loader: BatchMaker, *, seed: int, stream: int, start: int = 0, workers: int = 1) -> None:
        self.loader = loader
        self.seed = seed
        self.stream = stream
        self.index = start
        self.workers = workers

    def set_thread_id(self, thread_id: int) -> None:
        """Called by batchgenerators in each worker, before its first batch.

        A worker that is forked after torch computed with several threads hangs in its first parallel region, and
        nnU-Net's workers are one process for each core anyway: one thread each. And a worker whose parent was killed
        would wait for it for ever, with a gigabyte of memory: it ends with its parent.
        """
        torch.set_num_threads(1)
        end_with_parent()
        self.index += thread_id

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        batch = make_batch(self.loader, (self.seed, self.stream, self.index))
        self.index += self.workers
        return batch


def end_with_parent() -> None:
    """Let this worker process end when its parent does, however that dies; nothing happens in a main process."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


def make_batch(loader: BatchMaker, key: tuple[int, ...]) -> dict[str, Any]:
    """Draw the batch that belongs to ``key`` and leave the global generators as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seeds = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    torch.manual_seed(int(seeds[2]))
    try:
        return loader.generate_train_batch()
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def seeded_stream(
    loader: BatchMaker, *, seed: int, stream: int, start: int, workers: int, pin_memory: bool = False
) -> Any:
    """Return an iterator over seeded batches, drawn by ``workers`` processes (0: in this one)."""
    batches = SeededBatches(loader, seed=seed, stream=stream, start=start, workers=max(1, workers))
    if workers == 0:
        return SingleThreadedAugmenter(batches, None)
    return MultiThreadedAugmenter(
        batches, None, workers, num_cached_per_queue=2, seeds=[None] * workers, pin_memory=pin_memory, wait_time=0.002
    )
