"""A batch is a pure function of seed, stream and index."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from nnunet_iac.nnunet.batches import SeededBatches, make_batch, seeded_stream


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
