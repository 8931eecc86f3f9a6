"""Two processes with half of every batch each find what one process with the whole batches finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_searches import CPU, no_signal, tiny_network

from nnunet_iac.search import ranks
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.search import run_search

FOLDERS = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "reference"), str(Path(__file__).parents[2])]
PLANS = {
    "frozen": SearchPlan(epochs=6, iterations=3, warmup_epochs=1, drift=1.0),
    "joint, random perturbation, selection by removal": SearchPlan(
        epochs=4,
        iterations=2,
        warmup_epochs=1,
        mode="joint",
        perturbation="random",
        select="removal",
        select_batches=2,
    ),
    "adversarial": SearchPlan(epochs=4, iterations=2, warmup_epochs=1, perturbation="adversarial"),
}


def halves(stream: int, rank: int, count: int):
    """Batches of two images; with two ranks each gets one of them."""

    def open_at(start: int):
        index = start
        while True:
            generator = torch.Generator().manual_seed(1000 * stream + index)
            data = torch.randn(2, 1, 8, 8, generator=generator, dtype=torch.float64)
            target = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
            yield {"data": data[rank::count], "target": target[rank::count]}
            index += 1

    return open_at


def search(folder: Path, plan: SearchPlan, rank: int, count: int) -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    network = tiny_network(mode=plan.mode).double()
    torch.manual_seed(100 + (0 if count == 1 else rank))
    streams = (halves(1, rank, count), halves(2, rank, count))
    result = run_search(network, no_signal, *streams, plan, folder, device=CPU, log=lambda _: None)
    removal = {} if result.removal is None else {"edges": result.removal.edges, "p": result.removal.operation_p}
    return {**network.state_dict(), **removal}


def main(rank: int, folder: Path, name: str) -> None:
    """One of two ranks."""
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    (folder / "files").mkdir(exist_ok=True)
    torch.save(search(folder / "files", PLANS[name], rank, 2), folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", PLANS)
def test_two_ranks_with_half_batches_equal_one_with_whole_ones(tmp_path, name):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(FOLDERS), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__]
    started = [subprocess.Popen([*words, str(rank), str(tmp_path), name], env=environment) for rank in (0, 1)]
    try:
        assert [process.wait(timeout=240) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    (tmp_path / "alone").mkdir()
    alone = search(tmp_path / "alone", PLANS[name], 0, 1)

    assert first.keys() == alone.keys()
    for key, value in alone.items():
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(first[key].double(), value.double(), rtol=1e-5, atol=1e-8), key
    lines = (tmp_path / "files" / "search.jsonl").read_text().splitlines()
    assert len(lines) == len((tmp_path / "alone" / "search.jsonl").read_text().splitlines())


def test_alone_nothing_is_changed():
    values = [torch.randn(3), torch.randn(2, 2)]
    before = [v.clone() for v in values]
    ranks.average(values)
    ranks.wait()
    assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))
    assert ranks.same(values[0]) is values[0] and ranks.is_first() and ranks.count() == 1


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
