"""A search killed between any two epochs, or within one, and resumed equals the uninterrupted one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_searches import batches, lines, same_state, search, signal, tiny_network

from nnunet_iac.cells.network import CellUNet
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.search import SearchResult

PLAN = SearchPlan(epochs=25, iterations=6, warmup_epochs=1, drift=0.4, tau=0.1, patience=1)
LAST = 11
"""The epoch in which the search above ends by itself; a test checks it."""


class Killed(BaseException):
    """What a kill looks like from within."""


@dataclass(frozen=True)
class Whole:
    """The uninterrupted search and what lay on the disk after each of its epochs."""

    folder: Path
    network: CellUNet
    result: SearchResult
    after: dict[int, dict[str, bytes]]

    def put_back(self, epoch: int, folder: Path, *, trace_epoch: int | None = None) -> None:
        """Lay the files of a search that was killed after an epoch (its trace possibly one line ahead)."""
        (folder / "search_state.pt").write_bytes(self.after[epoch]["search_state.pt"])
        (folder / "search.jsonl").write_bytes(self.after[trace_epoch or epoch]["search.jsonl"])


def resume(folder: Path, plan: SearchPlan = PLAN, **options: Any) -> tuple[SearchResult, CellUNet]:
    torch.manual_seed(123)
    network = tiny_network()
    return search(folder, network, plan, signal(network), resume=True, **options), network


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, network, after = tmp_path_factory.mktemp("whole"), tiny_network(), {}

    def snapshot(text):
        if text.startswith("search: epoch"):
            after[len(after) + 1] = files(folder)

    result = search(folder, network, PLAN, signal(network), log=snapshot)
    return Whole(folder, network, result, after)


def assert_equal_to(whole: Whole, folder: Path, result: SearchResult, network: CellUNet) -> None:
    assert result.genotype == whole.result.genotype and result.genotype.origin == whole.result.genotype.origin
    assert lines(folder) == lines(whole.folder)
    assert torch.equal(network.cells.architecture.alpha, whole.network.cells.architecture.alpha)
    assert same_state(network, whole.network)
    assert (result.status, result.message, result.epochs) == (
        whole.result.status,
        whole.result.message,
        whole.result.epochs,
    )
    assert sorted(files(folder)) == ["search.jsonl", "search_state.pt"]


def test_the_uninterrupted_search_prunes_in_steps_and_ends_by_itself(whole):
    assert whole.result.epochs == LAST == len(whole.after) < PLAN.epochs and whole.result.status == "decided"
    pruned = [line["epoch"] + 1 for line in lines(whole.folder) if line["pruned"]]
    assert len(pruned) >= 3 and pruned[-1] == LAST - PLAN.patience, "the topology rests, then the search ends"
    assert (whole.network.cells.architecture.mask[..., 1:].sum(-1) == 1).all()


@pytest.mark.parametrize("epoch", range(1, LAST + 1))
def test_killed_after_any_epoch_it_goes_on_as_if_nothing_had_happened(whole, tmp_path, epoch):
    whole.put_back(epoch, tmp_path)
    assert_equal_to(whole, tmp_path, *resume(tmp_path))


@pytest.mark.parametrize("epoch", [4, LAST - 1])
def test_killed_between_the_line_and_the_state_of_an_epoch(whole, tmp_path, epoch):
    whole.put_back(epoch, tmp_path, trace_epoch=epoch + 1)
    assert_equal_to(whole, tmp_path, *resume(tmp_path))


def raise_after_an_epoch(text):
    if text.startswith("search: epoch"):
        raise Killed


def test_killed_after_every_single_epoch(whole, tmp_path):
    for _ in range(LAST):
        with pytest.raises(Killed):
            resume(tmp_path, log=raise_after_an_epoch)
    assert_equal_to(whole, tmp_path, *resume(tmp_path))


@pytest.mark.parametrize(("stream", "name", "step"), [(1, "weight_batches", 0), (2, "architecture_batches", 11)])
def test_killed_within_an_epoch(whole, tmp_path, stream, name, step):
    def killing(start):
        for index, batch in enumerate(batches(stream)(start), start=start):
            if index == step:
                raise Killed
            yield batch

    with pytest.raises(Killed):
        resume(tmp_path, **{name: killing})
    assert_equal_to(whole, tmp_path, *resume(tmp_path))


@pytest.mark.parametrize("stop", [Killed(), OSError(28, "No space left on device")], ids=["killed", "full disk"])
def test_stopped_while_the_state_is_written(whole, tmp_path, monkeypatch, stop):
    save, written = torch.save, iter(range(100))

    def tear(content, path):
        if next(written) == 3:
            path.write_bytes(b"half")
            raise stop
        save(content, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", tear)
        with pytest.raises(type(stop)):
            resume(tmp_path)
    assert sorted(files(tmp_path)) == ["search.jsonl", "search_state.pt"]
    assert_equal_to(whole, tmp_path, *resume(tmp_path))


def test_a_joint_search_resumes_with_its_host(tmp_path):
    plan = SearchPlan(epochs=4, iterations=2, warmup_epochs=1, mode="joint")
    networks, folders = [], []
    for name in ("whole", "killed"):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        networks.append(tiny_network(mode="joint"))
    search(folders[0], networks[0], plan)
    with pytest.raises(Killed):
        search(folders[1], tiny_network(mode="joint"), plan, log=raise_after_an_epoch)
    search(folders[1], networks[1], plan, resume=True)
    assert lines(folders[0]) == lines(folders[1]) and same_state(*networks)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_search_that_met_nan_resumes_the_same_way(tmp_path, epoch):
    """The NaN is in the data, so that it comes back if its batch does."""
    plan = SearchPlan(epochs=4, iterations=2, warmup_epochs=1)

    def spoiled(start):
        for index, batch in enumerate(batches(1)(start), start=start):
            yield {**batch, "target": batch["target"] * (torch.nan if index == 4 else 1.0)}

    outcomes = []
    for kill_at in (None, epoch):
        folder, network = tmp_path / str(kill_at), tiny_network()
        folder.mkdir()
        finished = iter(range(1, 100))

        def log(text, kill_at=kill_at, finished=finished):
            if text.startswith("search: epoch") and next(finished) == kill_at:
                raise Killed

        if kill_at is not None:
            with pytest.raises(Killed):
                search(folder, network, plan, weight_batches=spoiled, log=log)
            network = tiny_network()
        search(folder, network, plan, weight_batches=spoiled, resume=kill_at is not None)
        outcomes.append((lines(folder), network))
    assert outcomes[0][0] == outcomes[1][0] and same_state(outcomes[0][1], outcomes[1][1])


class TestWhatIsFoundOnTheDisk:
    @pytest.fixture
    def folder(self, whole, tmp_path):
        whole.put_back(3, tmp_path)
        return tmp_path

    def test_a_finished_search_gives_its_result_again_without_a_step(self, whole, tmp_path):
        whole.put_back(LAST, tmp_path)
        drawn = []
        again, network = resume(tmp_path, weight_batches=batches(1, drawn))
        assert again == whole.result and not drawn and same_state(network, whole.network)

    def test_a_torn_last_line_is_written_again(self, folder, whole):
        path = folder / "search.jsonl"
        path.write_text(path.read_text() + '{"schema": 1, "epoch": 3, "pro')
        assert_equal_to(whole, folder, *resume(folder))

    def test_without_resume_the_search_starts_again(self, folder, whole):
        network = tiny_network()
        assert_equal_to(whole, folder, search(folder, network, PLAN, signal(network)), network)

    def test_the_log_says_where_it_goes_on(self, whole, tmp_path):
        whole.put_back(LAST - 1, tmp_path)
        said = []
        resume(tmp_path, log=said.append)
        assert said[0] == f"search: resumed after epoch {LAST - 1} of {PLAN.epochs}"

    @pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-30], lambda b: b""])
    def test_a_damaged_state_is_refused_and_nothing_is_lost(self, folder, damage):
        state = folder / "search_state.pt"
        state.write_bytes(damage(state.read_bytes()))
        before = files(folder)
        with pytest.raises(ValueError, match=r"damaged one at .*move it away"):
            resume(folder)
        assert files(folder) == before

    def test_another_search_is_refused_and_all_differences_are_named(self, folder):
        before = files(folder)
        with pytest.raises(ValueError) as caught:
            resume(folder, replace(PLAN, epochs=20, drift=0.5, seed=7), identity={"host": "b"})
        assert re.findall(r"(\w+): was", str(caught.value)) == ["drift", "epochs", "host", "seed"]
        assert files(folder) == before

    def test_the_same_search_on_another_host_is_refused(self, tmp_path):
        plan = SearchPlan(epochs=4, iterations=1, warmup_epochs=1)
        mine, other = tiny_network(), tiny_network(seed=1)
        hosts = [{"host": network.host_digest()} for network in (mine, other)]
        with pytest.raises(Killed):
            search(tmp_path, mine, plan, identity=hosts[0], log=raise_after_an_epoch)
        before = files(tmp_path)
        with pytest.raises(ValueError) as caught:
            search(tmp_path, other, plan, identity=hosts[1], resume=True)
        assert re.findall(r"(\w+): was '(\w+)', is '(\w+)'", str(caught.value)) == [
            ("host", hosts[0]["host"], hosts[1]["host"])
        ]
        assert files(tmp_path) == before
        assert search(tmp_path, tiny_network(), plan, identity=hosts[0], resume=True).epochs == plan.epochs

    def test_another_schema_is_refused(self, folder):
        content = torch.load(folder / "search_state.pt", weights_only=True)
        torch.save({**content, "schema": 0}, folder / "search_state.pt")
        with pytest.raises(ValueError, match="expected schema 2, got 0"):
            resume(folder)


def test_other_batches_make_another_search(tmp_path):
    """The comparisons above can tell searches apart."""
    plan = SearchPlan(epochs=2, iterations=1, warmup_epochs=1)
    networks = []
    for stream in (1, 3):
        folder = tmp_path / str(stream)
        folder.mkdir()
        networks.append(tiny_network())
        search(folder, networks[-1], plan, weight_batches=batches(stream))
    assert not same_state(*networks)
    assert lines(tmp_path / "1") != lines(tmp_path / "3")
