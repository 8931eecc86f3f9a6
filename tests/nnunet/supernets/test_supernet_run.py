"""A supernet's training loop on made-up data: killed and continued it is the undisturbed one; what it refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_dataset import Killed, equal, kill_at

from nnunet_iac.nnunet.files.run_state import alone_in, read_state, remove_files, write_state
from nnunet_iac.nnunet.supernets.supernet_run import Lessons, SupernetRun
from nnunet_iac.zoo.shrinking import SupernetPlan
from nnunet_iac.zoo.supernet import ElasticUNet

CPU = torch.device("cpu")
PLAN = SupernetPlan(1, 1, 2, random_networks=1, learning_rate=0.05, seed=3)
ARCHITECTURE: dict[str, Any] = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3]] * 2,
        "strides": [[1, 1], [2, 2]],
        "n_conv_per_stage": [2, 2],
        "n_conv_per_stage_decoder": [2],
        "norm_op": "torch.nn.BatchNorm2d",
        "dropout_op": "torch.nn.Dropout2d",
        "dropout_op_kwargs": {"p": 0.5},
        "nonlin": "torch.nn.LeakyReLU",
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


class Batches:
    """Batches that are a function of their number, and whether they were closed."""

    def __init__(self, start: int, poisoned: int = -1) -> None:
        self.number, self.poisoned, self.closed = start, poisoned, False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(self.number))
        x[:] = torch.nan if self.number == self.poisoned else x
        self.number += 1
        return {"data": x, "target": (x[:, 0] > 0).long()}

    def _finish(self) -> None:
        self.closed = True


def loss(outputs: Any, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs[0], target)


def new(folder: Path, plan: SupernetPlan = PLAN, poisoned: int = -1, **identity: Any) -> tuple[SupernetRun, list[Any]]:
    opened: list[Any] = []

    def open_batches(start: int) -> Batches:
        opened.append(Batches(start, poisoned))
        return opened[-1]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = ElasticUNet(ARCHITECTURE, 1, 2, multiple=2)
    lessons = Lessons(open_batches, loss, "softmax", 2)
    return SupernetRun(supernet, plan, lessons, folder / "state.pt", {"data": 1, **identity}, CPU), opened


def trained(folder: Path, plan: SupernetPlan = PLAN) -> SupernetRun:
    run, _ = new(folder, plan)
    run.run(lambda _: None)
    return run


def assert_same(first: SupernetRun, second: SupernetRun) -> None:
    assert equal(first.supernet.state_dict(), second.supernet.state_dict())
    momenta = [run.optimizer.state_dict()["state"] for run in (first, second)]
    assert all(torch.equal(m["momentum_buffer"], momenta[1][k]["momentum_buffer"]) for k, m in momenta[0].items())
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.history] for run in (first, second)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(("epoch", "after"), [(1, False), (2, True), (3, False), (4, True)])
def test_killed_around_any_state_and_continued_it_is_the_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, after: bool
) -> None:
    (tmp_path / "whole").mkdir()
    expected = trained(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, os, "replace", epoch, after=after)
        trained(tmp_path)

    torch.manual_seed(99)
    again, opened = new(tmp_path)
    assert again.resume() == (after or epoch > 1) and again.epoch == epoch - (not after)
    again.run(lambda _: None)

    assert_same(again, expected)
    assert [batches.closed for batches in opened] == [True] * (again.plan.epochs > epoch - (not after))


def test_the_schedule_is_the_plans(tmp_path: Path) -> None:
    lines: list[str] = []
    run, opened = new(tmp_path)
    before = torch.get_rng_state()
    run.run(lines.append)

    assert [row["phase"] for row in run.history] == ["full", "depth", "width", "width"]
    assert [len(row["losses"]) for row in run.history] == [1, 2, 2, 2] and opened[0].number == 8
    assert lines[0].startswith("epoch 1 of 4 (full): loss ") and "(smallest)" in lines[3]
    assert not run.supernet.training and torch.equal(torch.get_rng_state(), before)


def test_channels_are_sorted_once_with_their_momenta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(ElasticUNet, "sort_channels", lambda self, optimizer: calls.append(optimizer))
    run = trained(tmp_path)
    assert calls == [run.optimizer]


def test_nan_stops_it_and_the_state_before_is_whole(tmp_path: Path) -> None:
    run, opened = new(tmp_path, poisoned=3)
    with pytest.raises(FloatingPointError, match=r"Source: .* lower the learning rate"):
        run.run(lambda _: None)

    assert opened[0].closed, "worker processes must not outlive it"
    again, _ = new(tmp_path)
    assert again.resume() and again.epoch == 1
    assert all(bool(torch.isfinite(weight).all()) for weight in again.supernet.parameters())


@pytest.mark.parametrize(
    ("plan", "identity", "message"),
    [
        (replace(PLAN, seed=4), {}, "plan.seed is 3 there, 4 here"),
        (replace(PLAN, width_epochs=3), {}, "plan.width_epochs is 2 there, 3 here"),
        (PLAN, {"data": 2}, "data is 1 there, 2 here"),
    ],
)
def test_the_state_of_another_run_is_refused(
    tmp_path: Path, plan: SupernetPlan, identity: dict[str, Any], message: str
) -> None:
    trained(tmp_path, replace(PLAN))
    with pytest.raises(ValueError, match="got that of another one") as error:
        new(tmp_path, plan, **identity)[0].resume()
    assert message in str(error.value) and "--overwrite" in str(error.value)


def test_damaged_states_are_refused_and_states_of_other_versions(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    assert not new(tmp_path)[0].resume(), "there is none yet"
    for content in (b"no state", torch.nn.Identity()):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(ValueError, match=r"state\.pt: .*got a damaged file .*start anew with --overwrite"):
            new(tmp_path)[0].resume()
    write_state(path, new(tmp_path)[0].identity, {"epoch": 1})
    with pytest.raises(ValueError, match="got a damaged file"):
        new(tmp_path)[0].resume()
    torch.save({"schema": 2, "identity": "{}"}, path)
    with pytest.raises(ValueError, match="expected version 1 of the state, got 2"):
        read_state(path, {})


def test_a_folder_is_held_by_one_process_and_emptied_of_its_own_files_only(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(TimeoutError, match="no other process works in"), alone_in(tmp_path):
        pass
    for name in ("notes.txt", "state.pt", "network_3.pt", ".state.pt.x7.tmp", ".network_3.pt.x7.tmp"):
        (tmp_path / name).touch()
    remove_files(tmp_path, ("state.pt", "network_*.pt"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "run.lock"]


def test_an_epoch_has_steps() -> None:
    with pytest.raises(ValueError, match="--iterations: expected at least 1, got 0"):
        Lessons(lambda start: Batches(start), loss, "softmax", 0)
