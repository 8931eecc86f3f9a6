"""A search killed between any two epochs, or within one, and resumed equals the uninterrupted one."""

from __future__ import annotations

import re

import pytest
import torch
from tiny_searches import batches, lines, no_signal, same_state, search, signal, tiny_network

from nnunet_iac.search.plan import SearchPlan

PLAN = SearchPlan(epochs=14, iterations=1, warmup_epochs=2, drift=1.0, tau=0.2, patience=1)
LAST = 9
"""The epoch in which the search above ends by itself; a test checks it."""


class Killed(BaseException):
    """What a kill looks like from within."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted search: its folder, network and result."""
    folder, network = tmp_path_factory.mktemp("whole"), tiny_network()
    return folder, network, search(folder, network, PLAN, signal(network))


def killed_after_epoch(epoch, folder, monkeypatch):
    finished = iter(range(1, 100))

    def log(text):
        if text.startswith("search: epoch") and next(finished) == epoch:
            raise Killed

    network = tiny_network()
    search(folder, network, PLAN, signal(network), log=log)


def killed_between_the_line_and_the_state(epoch, folder, monkeypatch):
    save, written = torch.save, iter(range(100))

    def fail(content, path):
        if next(written) == epoch:  # the first state is that before the first epoch
            path.write_bytes(b"torn")
            raise Killed
        save(content, path)

    network = tiny_network()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        search(folder, network, PLAN, signal(network))


def killed_within_the_epoch(epoch, folder, monkeypatch):
    def open_at(start):
        for index, batch in enumerate(batches(2)(start), start=start):
            if index == (epoch - 1) * PLAN.iterations:
                raise Killed
            yield batch

    network = tiny_network()
    search(folder, network, PLAN, signal(network), architecture_batches=open_at)


def test_the_uninterrupted_search_prunes_and_ends_by_itself(whole):
    folder, _, result = whole
    assert result.epochs == LAST < PLAN.epochs and result.status == "decided"
    assert any(line["pruned"] for line in lines(folder)[:-1])


@pytest.mark.parametrize(
    "kill", [killed_after_epoch, killed_between_the_line_and_the_state, killed_within_the_epoch]
)
@pytest.mark.parametrize("epoch", range(1, LAST + 1))
def test_a_killed_search_goes_on_as_if_nothing_had_happened(whole, tmp_path, monkeypatch, kill, epoch):
    with pytest.raises(Killed):
        kill(epoch, tmp_path, monkeypatch)
    torch.manual_seed(epoch)
    network = tiny_network()
    result = search(tmp_path, network, PLAN, signal(network), resume=True)
    folder, expected_network, expected = whole
    assert result.genotype == expected.genotype and result.genotype.origin == expected.genotype.origin
    assert lines(tmp_path) == lines(folder)
    assert same_state(network, expected_network)
    assert (result.status, result.message, result.epochs) == (expected.status, expected.message, expected.epochs)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["search.jsonl", "search_state.pt"]


def test_killed_after_every_single_epoch(whole, tmp_path, monkeypatch):
    for _ in range(LAST):
        network = tiny_network()
        with pytest.raises(Killed):
            search(tmp_path, network, PLAN, signal(network), resume=True, log=raise_after_an_epoch)
    network = tiny_network()
    search(tmp_path, network, PLAN, signal(network), resume=True)
    assert lines(tmp_path) == lines(whole[0]) and same_state(network, whole[1])


def raise_after_an_epoch(text):
    if text.startswith("search: epoch"):
        raise Killed


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


class TestFinishedOrForeignSearches:
    @pytest.fixture
    def folder(self, tmp_path):
        with pytest.raises(Killed):
            killed_after_epoch(3, tmp_path, None)
        return tmp_path

    def resume(self, folder, plan=PLAN, **options):
        network = tiny_network()
        return search(folder, network, plan, signal(network), resume=True, **options)

    def test_a_finished_search_gives_its_result_again_without_a_step(self, tmp_path):
        first = self.resume(tmp_path)
        drawn = []
        again = self.resume(tmp_path, weight_batches=batches(1, drawn))
        assert again.genotype == first.genotype and again.epochs == first.epochs and not drawn
        assert again.seconds == first.seconds

    def test_a_torn_last_line_is_written_again(self, folder, whole):
        path = folder / "search.jsonl"
        path.write_text(path.read_text() + '{"schema": 1, "epoch": 3, "pro')
        self.resume(folder)
        assert lines(folder) == lines(whole[0])

    def test_without_resume_the_search_starts_again(self, folder, whole):
        network = tiny_network()
        search(folder, network, PLAN, signal(network))
        assert lines(folder) == lines(whole[0]) and same_state(network, whole[1])

    def test_resume_without_a_state_starts_from_the_beginning(self, tmp_path, whole):
        self.resume(tmp_path)
        assert lines(tmp_path) == lines(whole[0])

    def test_the_log_says_where_it_goes_on(self, folder):
        said = []
        self.resume(folder, log=said.append)
        assert said[0] == "search: resumed after epoch 3 of 14"

    @pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-30], lambda b: b""])
    def test_a_damaged_state_is_refused_and_nothing_is_lost(self, folder, damage):
        state, trace = folder / "search_state.pt", (folder / "search.jsonl").read_bytes()
        state.write_bytes(damage(state.read_bytes()))
        torn = state.read_bytes()
        with pytest.raises(ValueError, match="damaged one at .*move it away"):
            self.resume(folder)
        assert state.read_bytes() == torn and (folder / "search.jsonl").read_bytes() == trace

    def test_another_search_is_refused_and_all_differences_are_named(self, folder):
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        other = SearchPlan(epochs=20, iterations=1, warmup_epochs=2, drift=0.5, tau=0.2, patience=1, seed=7)
        with pytest.raises(ValueError) as caught:
            self.resume(folder, other, identity={"host": "b"})
        changes = re.findall(r"(\w+): was", str(caught.value))
        assert changes == ["drift", "epochs", "host", "seed"]
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == before

    def test_another_schema_is_refused(self, folder):
        content = torch.load(folder / "search_state.pt", weights_only=True)
        torch.save({**content, "schema": 0}, folder / "search_state.pt")
        with pytest.raises(ValueError, match="expected schema 1, got 0"):
            self.resume(folder)


def test_a_full_disk_stops_the_search_and_the_last_state_stays_good(tmp_path, monkeypatch, whole):
    save, written = torch.save, iter(range(100))

    def full(content, path):
        if next(written) == 3:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(content, path)

    network = tiny_network()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            search(tmp_path, network, PLAN, signal(network))
    network = tiny_network()
    search(tmp_path, network, PLAN, signal(network), resume=True)
    assert lines(tmp_path) == lines(whole[0]) and sorted(p.name for p in tmp_path.iterdir()) == [
        "search.jsonl",
        "search_state.pt",
    ]


def test_two_searches_without_signal_and_other_batches_differ(tmp_path):
    """The comparison above can tell searches apart."""
    plan = SearchPlan(epochs=2, iterations=1, warmup_epochs=1)
    networks = []
    for stream in (1, 3):
        folder = tmp_path / str(stream)
        folder.mkdir()
        networks.append(tiny_network())
        search(folder, networks[-1], plan, no_signal, weight_batches=batches(stream))
    assert not same_state(*networks)
    assert lines(tmp_path / "1") != lines(tmp_path / "3")
