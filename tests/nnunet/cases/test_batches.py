"""A batch is a pure function of seed, stream and index."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunet_iac.nnunet.cases.batches import SeededBatches, make_batch, seeded_stream


class Dice:
    """Draws from each of the three global generators, as nnU-Net's loaders do."""

    def generate_train_batch(self) -> dict[str, Any]:
        numbers = [random.random(), np.random.rand(), float(torch.rand(()))]
        return {"data": torch.tensor(numbers)}


class Broken:
    def generate_train_batch(self) -> dict[str, Any]:
        random.random(), np.random.rand(), torch.rand(())
        raise OSError("unreadable case")


def draw(stream: Any, count: int) -> list[list[float]]:
    try:
        return [next(stream)["data"].tolist() for _ in range(count)]
    finally:
        if hasattr(stream, "_finish"):
            stream._finish()


def states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_a_batch_depends_on_its_key_alone() -> None:
    first = make_batch(Dice(), (3, 1, 4))["data"]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)

    assert torch.equal(make_batch(Dice(), (3, 1, 4))["data"], first)


@pytest.mark.parametrize("key", [(4, 1, 4), (3, 2, 4), (3, 1, 5)])
def test_every_part_of_the_key_counts_for_every_generator(key: tuple[int, ...]) -> None:
    assert not (make_batch(Dice(), (3, 1, 4))["data"] == make_batch(Dice(), key)["data"]).any()


@pytest.mark.parametrize("loader", [Dice(), Broken()])
def test_the_global_generators_are_left_as_they_were(loader: Any) -> None:
    before = states()
    try:
        make_batch(loader, (0, 0, 0))
    except OSError:
        pass

    assert states() == before


def test_a_stream_can_start_anywhere() -> None:
    whole = [b["data"].tolist() for b in islice(SeededBatches(Dice(), seed=1, stream=0), 6)]
    later = [b["data"].tolist() for b in islice(SeededBatches(Dice(), seed=1, stream=0, start=4), 2)]

    assert later == whole[4:] and len({str(b) for b in whole}) == 6


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # batchgenerators' _finish
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_worker_processes_do_not_change_the_order(workers: int) -> None:
    here = draw(seeded_stream(Dice(), seed=5, stream=2, start=3, workers=0), 7)

    assert draw(seeded_stream(Dice(), seed=5, stream=2, start=3, workers=workers), 7) == here


def own_a_stream(pids: Any) -> None:
    stream = seeded_stream(Dice(), seed=0, stream=0, start=0, workers=2)
    next(stream)
    pids.put([child.pid for child in multiprocessing.active_children()])
    time.sleep(600)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_workers_end_with_a_process_that_was_killed() -> None:
    context = multiprocessing.get_context("fork")
    pids = context.SimpleQueue()
    owner = context.Process(target=own_a_stream, args=(pids,))
    owner.start()
    workers = pids.get()
    assert len(workers) == 2 and all(map(is_running, workers))

    owner.kill()
    owner.join()

    deadline = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in workers if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
