"""The pretraining's loop, on a made-up task with hand-made scores: stop, best epoch, state, kill and resume."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from prepared_datasets import tiny_plans
from tiny_dataset import Killed, equal, kill_at
from tiny_hosts import BACKBONES
from torch import nn

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.plans import with_genotype
from nnunet_iac.nnunet.files.run_state import remove_files
from nnunet_iac.nnunet.files.weights import PROVENANCE, WeightTarget, build_network, weight_target
from nnunet_iac.nnunet.pretraining import pretraining as module
from nnunet_iac.nnunet.pretraining.pretraining import Pretraining
from nnunet_iac.nnunet.pretraining.pretraining_files import CHECKPOINT, CURVE, FILES, RESULT, STATE
from nnunet_iac.nnunet.pretraining.pretraining_plan import PretrainingPlan, PretrainingResult
from nnunet_iac.robustness.selection import StoppingRule

CPU = torch.device("cpu")
CONTENT = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "shell": 1, "box": 2}, "file_ending": ".png"}
PLAN = PretrainingPlan(epochs=4, iterations=2, learning_rate=0.05, full=True, seed=3)
FALLING = (1.0, 0.9, 0.8, 0.7, 0.6)


@dataclass
class Stripes:
    """Tells noise from stripes; batches are a function of the index, and the decoder is trained in every other one."""

    unreadable: dict[str, str] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=lambda: {"stripes": 2})
    poisoned: int = -1
    """Index of a batch that holds NaN."""
    asked: list[int] = field(default_factory=list)

    def heads(self, features: int, outputs: int) -> nn.ModuleList:
        return nn.ModuleList([nn.Linear(features, 2), nn.Conv2d(outputs, 2, 1)])

    def batch(self, index: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        self.asked.append(index)
        self.unreadable[f"file{index}"] = "damaged"
        draw = torch.Generator().manual_seed(index)
        images, targets = torch.randn(4, 1, 16, 16, generator=draw), torch.tensor([0, 1, 0, 1])
        images[1::2, :, ::2] += 2
        return index % 2, images + (math.nan if index == self.poisoned else 0), targets

    def loss(self, network: nn.Module, heads: Sequence[nn.Module], batch: tuple[int, Any, Any]) -> torch.Tensor:
        head, images, targets = batch
        features = network.encoder(images)[-1] if head == 0 else heads[1](network(images))  # type: ignore[operator]
        answers = features.amax((2, 3))
        return nn.functional.cross_entropy(heads[0](answers) if head == 0 else answers, targets)


@dataclass
class Scores:
    """Hand-made losses, epoch by epoch."""

    losses: Sequence[float]
    start: int = 0
    description: dict[str, Any] = field(default_factory=lambda: {"watched": 8})

    def __call__(self, encoder: nn.Module) -> float:
        self.start += 1
        return self.losses[self.start - 1]


@pytest.fixture
def target(stock_plans: dict[str, Any]) -> WeightTarget:
    return weight_target(tiny_plans(stock_plans), "2d", CONTENT)


def pretraining(
    target: WeightTarget, folder: Path, losses: Sequence[float] = FALLING, plan: PretrainingPlan = PLAN, **task: Any
) -> Pretraining:
    folder.mkdir(parents=True, exist_ok=True)
    return Pretraining(target, Stripes(**task), plan, Scores(losses), folder, CPU)


def continued(
    target: WeightTarget, folder: Path, losses: Sequence[float] = FALLING, plan: PretrainingPlan = PLAN, **task: Any
) -> Pretraining:
    """A new process that goes on."""
    again = pretraining(target, folder, losses, plan, **task)
    assert again.resume()
    again.watch.start = len(again.losses)  # type: ignore[attr-defined]
    return again


def quietly(run: Pretraining) -> PretrainingResult:
    return run.run(lambda _: None)


UNEVEN = (1.0, 0.5, 0.6, 0.4, 0.5)
"""Files of the epochs: 3 (state, checkpoint, curve), 2, 3, 2; the record is the eleventh."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For a run that several tests look at."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def undisturbed(target: WeightTarget, shelf: Path) -> Path:
    """A whole run with the losses `UNEVEN`. Read only."""
    if not (shelf / RESULT).exists():
        quietly(pretraining(target, shelf, UNEVEN))
    return shelf


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(undisturbed, tmp_path / "finished"))


def state_of(folder: Path) -> dict[str, Any]:
    return dict(torch.load(folder / STATE, weights_only=True))


def encoder_of(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights.items() if key.startswith("encoder.")}


def decoder_of(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # nnU-Net's decoder holds the encoder a second time.
    return {k: v for k, v in weights.items() if k.startswith("decoder.") and not k.startswith("decoder.encoder.")}


# --- what is written ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("losses", "best"), [(FALLING, 4), ((1.0, 0.8, 0.4, 0.5, 0.6), 2), ((0.1, 0.9, 1, 1, 1), 1)])
def test_the_best_epochs_encoder_is_written_with_a_fresh_decoder(
    target: WeightTarget, tmp_path: Path, losses: Sequence[float], best: int
) -> None:
    run = pretraining(target, tmp_path, losses)
    encoders, save = [], run._save
    run._save = lambda: (encoders.append(_cloned(run.network.encoder)), save())[1]  # type: ignore[method-assign]

    result = quietly(run)

    written = read_checkpoint(tmp_path / CHECKPOINT)
    weights, fresh = written["network_weights"], dict(build_network(target, PLAN.seed).state_dict())
    assert result.best_epoch == best == written[PROVENANCE]["pretraining"]["epoch"]
    assert equal({k.removeprefix("encoder."): v for k, v in encoder_of(weights).items()}, encoders[best - 1])
    assert best == 4 or not equal(encoders[best - 1], encoders[-1])
    assert equal(decoder_of(weights), decoder_of(fresh)) and not equal(encoder_of(weights), encoder_of(fresh))


def _cloned(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("kind", ["plain", "residual", "with cells"])
def test_nnunet_loads_the_checkpoint_as_pretrained_weights(
    stock_plans: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    plans = tiny_plans(stock_plans)
    architecture = plans["configurations"]["2d"]["architecture"]
    if kind == "residual":
        architecture["network_class_name"] = BACKBONES[kind]
        architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
    if kind == "with cells":
        plans = with_genotype(plans, "2d", Genotype.random(seed=0))
    target = weight_target(plans, "2d", CONTENT)
    quietly(pretraining(target, tmp_path))
    network = build_network(target, seed=9)
    heads = {key: value.clone() for key, value in network.state_dict().items() if ".seg_layers." in key}

    load_pretrained_weights(network, str(tmp_path / CHECKPOINT))

    loaded, written = network.state_dict(), read_checkpoint(tmp_path / CHECKPOINT)["network_weights"]
    assert all(torch.equal(value, written[key]) for key, value in loaded.items() if key not in heads)
    assert all(torch.equal(loaded[key], value) for key, value in heads.items()), "nnU-Net starts these anew"


def test_curve_and_record_say_what_happened(target: WeightTarget, tmp_path: Path) -> None:
    result = quietly(pretraining(target, tmp_path, (1.0, 0.5, 0.7, 0.4, 0.45)))

    curve = [json.loads(line) for line in (tmp_path / CURVE).read_text().splitlines()]
    record = json.loads((tmp_path / RESULT).read_text())
    assert [row["robustness_loss"] for row in curve] == [1.0, 0.5, 0.7, 0.4, 0.45] == record["losses"]
    assert [row["epoch"] for row in curve] == [0, 1, 2, 3, 4]
    assert [row["training_loss"] for row in curve] == [None, *result.training_losses]
    assert record["beats_initialisation"] and not record["stopped_early"] and record["epochs"] == 4
    assert record["task"] == {"stripes": 2} and record["target"]["configuration"] == "2d"
    assert sorted(record["unreadable"]) == [f"file{n}" for n in range(8)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([STATE, CURVE, RESULT, CHECKPOINT])


def test_it_learns(target: WeightTarget, tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=4, iterations=14)

    losses = quietly(pretraining(target, tmp_path, [1 / n for n in range(1, 9)], plan)).training_losses

    assert losses[-1] < 0.8 * losses[0]


def test_steps_ask_for_batch_after_batch(target: WeightTarget, tmp_path: Path) -> None:
    run = pretraining(target, tmp_path)
    quietly(run)
    assert run.task.asked == list(range(8))  # type: ignore[attr-defined]


def test_seeds_differ_and_the_global_generator_is_left_alone(target: WeightTarget, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    for seed in (3, 4):
        quietly(pretraining(target, tmp_path / str(seed), plan=replace(PLAN, seed=seed)))

    first, second = (read_checkpoint(tmp_path / str(seed) / CHECKPOINT)["network_weights"] for seed in (3, 4))
    assert not equal(encoder_of(first), encoder_of(second)) and not equal(decoder_of(first), decoder_of(second))
    assert torch.equal(torch.get_rng_state(), before)


# --- when it stops --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "patience", "smoothing", "epochs", "best"),
    [
        ((1.0, 0.5, 0.6, 0.4, 0.5, 0.5), 1, 0.0, 2, 1),
        ((1.0, 0.5, 0.6, 0.4, 0.5, 0.5), 2, 0.0, 5, 3),
        ((1.0, 0.5, 0.5, 0.5, 0.1, 0.1), 2, 0.0, 3, 1),
        ((0.1, 0.5, 0.6, 0.7, 0.1, 0.1), 2, 0.0, 3, 1),
        ((1.0, 0.9, 0.5, 0.6, 0.6, 0.6), 1, 0.5, 5, 5),
    ],
)
def test_it_stops_when_patience_runs_out(
    target: WeightTarget,
    tmp_path: Path,
    losses: Sequence[float],
    patience: int,
    smoothing: float,
    epochs: int,
    best: int,
) -> None:
    plan = PretrainingPlan(epochs=5, iterations=1, rule=StoppingRule(patience, smoothing))

    result = quietly(pretraining(target, tmp_path, losses, plan))

    assert (result.epochs, result.best_epoch) == (epochs, best)
    assert result.stopped_early == (epochs < 5 or patience == 2), "in the second row it runs out with the last epoch"


def test_random_weights_are_never_chosen(target: WeightTarget, tmp_path: Path) -> None:
    result = quietly(pretraining(target, tmp_path, (0.1, 0.5, 0.4, 0.6, 0.6)))
    assert result.best_epoch == 2 and not result.beats_initialisation


def test_full_trains_on(target: WeightTarget, tmp_path: Path) -> None:
    impatient = PretrainingPlan(epochs=4, iterations=1, rule=StoppingRule(1))
    worse = (0.1, 0.2, 0.3, 0.4, 0.5)

    assert quietly(pretraining(target, tmp_path / "early", worse, impatient)).epochs == 2
    assert quietly(pretraining(target, tmp_path / "full", worse, replace(impatient, full=True))).epochs == 4


def test_a_run_that_stopped_early_goes_on_with_full_as_if_it_had_not_stopped(
    target: WeightTarget, tmp_path: Path
) -> None:
    early = PretrainingPlan(epochs=4, iterations=1, rule=StoppingRule(1))
    full, losses = replace(early, full=True), (1.0, 0.5, 0.6, 0.4, 0.3)
    expected = quietly(pretraining(target, tmp_path / "full", losses, full))
    assert quietly(pretraining(target, tmp_path / "early", losses, early)).epochs == 2
    assert quietly(continued(target, tmp_path / "early", losses, early)).epochs == 2

    found = quietly(continued(target, tmp_path / "early", losses, full))

    assert replace(found, seconds=0) == replace(expected, seconds=0) and found.epochs == 4
    assert equal(*(read_checkpoint(tmp_path / kind / CHECKPOINT)["network_weights"] for kind in ("early", "full")))


# --- kill and resume ------------------------------------------------------------------------------------------------


def assert_same_run(found: Path, expected: Path) -> None:
    first, second = state_of(found), state_of(expected)
    for part in ("network", "heads", "best"):
        assert equal(first[part], second[part]), part
    momenta = [state["optimizer"]["state"] for state in (first, second)]
    assert all(torch.equal(m["momentum_buffer"], momenta[1][i]["momentum_buffer"]) for i, m in momenta[0].items())
    assert [first[key] for key in ("losses", "training_losses", "seen", "unreadable")] == [
        second[key] for key in ("losses", "training_losses", "seen", "unreadable")
    ]
    assert equal(*(read_checkpoint(folder / CHECKPOINT)["network_weights"] for folder in (found, expected)))
    assert (found / CURVE).read_bytes() == (expected / CURVE).read_bytes()


@pytest.mark.parametrize(("replaced", "after"), [*((number, False) for number in range(1, 12)), (11, True)])
def test_killed_around_any_file_and_continued_it_is_the_undisturbed_run(
    target: WeightTarget,
    tmp_path: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    replaced: int,
    after: bool,
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, os, "replace", replaced, after=after)
        with pytest.raises(Killed):
            quietly(pretraining(target, tmp_path / "killed", UNEVEN))
    assert not [path for path in (tmp_path / "killed").iterdir() if path.suffix == ".tmp"]

    started = (tmp_path / "killed" / STATE).exists()
    assert started == (replaced > 1 or after), "nothing is half-written: there is a state or there is none"
    run = continued if started else pretraining
    result = quietly(run(target, tmp_path / "killed", UNEVEN))

    assert_same_run(tmp_path / "killed", undisturbed)
    assert result.losses == UNEVEN and result.best_epoch == 3


def test_what_a_killed_process_left_half_written_is_removed(target: WeightTarget, finished: Path) -> None:
    kept = sorted(path.name for path in finished.iterdir())
    for name in (STATE, CHECKPOINT):
        (finished / f".{name}.x7.tmp").write_bytes(b"half")

    assert pretraining(target, finished).resume()

    assert sorted(path.name for path in finished.iterdir()) == kept


def test_dropout_draws_the_same_after_a_resume(
    target: WeightTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = target.architecture["arch_kwargs"]
    arguments.update(dropout_op="torch.nn.modules.dropout.Dropout2d", dropout_op_kwargs={"p": 0.5})
    quietly(pretraining(target, tmp_path / "undisturbed"))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, Pretraining, "_train_epoch", 3)
        quietly(pretraining(target, tmp_path / "killed"))

    torch.manual_seed(123)
    quietly(continued(target, tmp_path / "killed"))

    assert_same_run(tmp_path / "killed", tmp_path / "undisturbed")


def test_a_finished_run_is_not_trained_again(target: WeightTarget, tmp_path: Path) -> None:
    first = quietly(pretraining(target, tmp_path))
    (tmp_path / CHECKPOINT).unlink()
    again = continued(target, tmp_path)

    assert quietly(again) == first and again.task.asked == []  # type: ignore[attr-defined]
    assert (tmp_path / CHECKPOINT).is_file(), "it follows from the state"


def test_without_a_state_there_is_nothing_to_go_on_with(target: WeightTarget, tmp_path: Path) -> None:
    assert not pretraining(target, tmp_path / "none").resume()


@pytest.mark.parametrize(
    ("plan", "task", "watched", "message"),
    [
        (replace(PLAN, epochs=5), {}, 8, "plan.epochs is 4 there, 5 here"),
        (replace(PLAN, seed=4), {}, 8, "plan.seed is 3 there, 4 here"),
        (replace(PLAN, rule=StoppingRule(2, 0.5)), {}, 8, "plan.smoothing is 0.0 there, 0.5 here"),
        (PLAN, {"stripes": 3}, 8, "task.stripes is 2 there, 3 here"),
        (PLAN, {"images": "x"}, 8, "task.images is None there, 'x' here; task.stripes is 2 there, None here"),
        (PLAN, {}, 9, "watch.watched is 8 there, 9 here"),
    ],
)
def test_the_state_of_another_pretraining_is_refused(
    target: WeightTarget, finished: Path, plan: PretrainingPlan, task: dict[str, Any], watched: int, message: str
) -> None:
    before = (finished / STATE).read_bytes()
    other = Pretraining(
        target, Stripes(description=task or {"stripes": 2}), plan, Scores((), 0, {"watched": watched}), finished, CPU
    )

    with pytest.raises(ValueError, match="got that of another one") as error:
        other.resume()

    assert message in str(error.value) and "--overwrite, or give another folder with -o" in str(error.value)
    assert (finished / STATE).read_bytes() == before


def test_the_state_of_another_network_is_refused(
    target: WeightTarget, finished: Path, stock_plans: dict[str, Any]
) -> None:
    plans = tiny_plans(stock_plans)
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 32]

    with pytest.raises(ValueError, match=r"features_per_stage is \[4, 8, 16\] there, \[4, 8, 32\] here"):
        pretraining(weight_target(plans, "2d", CONTENT), finished).resume()


def test_patience_may_change(target: WeightTarget, tmp_path: Path) -> None:
    early = PretrainingPlan(epochs=4, iterations=1, rule=StoppingRule(1))
    losses = (1.0, 0.5, 0.6, 0.4, 0.3)
    assert quietly(pretraining(target, tmp_path, losses, early)).epochs == 2

    patient = replace(early, rule=StoppingRule(2))

    assert quietly(continued(target, tmp_path, losses, patient)).epochs == 4


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def _overwrite(path: Path) -> None:
    path.write_text("no state")


def _something_else(path: Path) -> None:
    torch.save({"network_weights": {}}, path)


def _without_momentum(path: Path) -> None:
    torch.save({k: v for k, v in torch.load(path, weights_only=True).items() if k != "optimizer"}, path)


def _other_shapes(path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), "heads": {}}, path)


@pytest.mark.parametrize("damage", [_truncate, _overwrite, _something_else, _without_momentum, _other_shapes])
def test_a_damaged_state_is_refused_with_the_remedy(target: WeightTarget, finished: Path, damage: Any) -> None:
    damage(finished / STATE)

    with pytest.raises(ValueError, match=r"pretraining_state\.pt: .*got a damaged file .*start anew with --overwrite"):
        pretraining(target, finished).resume()


def test_a_state_of_another_version_is_refused(target: WeightTarget, finished: Path) -> None:
    torch.save({**state_of(finished), "schema": 2}, finished / STATE)

    with pytest.raises(ValueError, match=r"expected version 1 of the state, got 2; start anew"):
        pretraining(target, finished).resume()


def test_starting_anew_removes_all_of_the_old_run(target: WeightTarget, finished: Path) -> None:
    (finished / "notes.txt").touch()
    (finished / f".{STATE}.x7.tmp").touch()

    remove_files(finished, FILES)
    remove_files(finished / "none", FILES)

    assert [path.name for path in finished.iterdir()] == ["notes.txt"]


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_loss_of_nan_stops_with_advice_and_the_epoch_before_is_whole(target: WeightTarget, tmp_path: Path) -> None:
    with pytest.raises(
        FloatingPointError, match=r"got nan in epoch 3; the state of epoch 2 is whole\. Source: .*--learn"
    ):
        quietly(pretraining(target, tmp_path, poisoned=5))
    assert state_of(tmp_path)["epoch"] == 2 and read_checkpoint(tmp_path / CHECKPOINT)

    result = quietly(continued(target, tmp_path))

    expected = tmp_path / "undisturbed"
    assert result.epochs == 4 and quietly(pretraining(target, expected)).losses == result.losses
    assert_same_run(tmp_path, expected)


def test_gradients_of_nan_do_not_reach_the_weights(
    target: WeightTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, calls = nn.utils.clip_grad_norm_, []

    def poison(parameters: list[nn.Parameter], norm: float) -> Any:
        calls.append(norm)
        if len(calls) == 4:  # the last step of the second epoch: no later loss tells
            parameters[0].grad = torch.full_like(parameters[0], math.nan)
        return clip(parameters, norm)

    monkeypatch.setattr(module.nn.utils, "clip_grad_norm_", poison)
    run = pretraining(target, tmp_path)

    with pytest.raises(FloatingPointError, match=r"gradients: .*in epoch 2; the state of epoch 1 is whole"):
        quietly(run)

    assert state_of(tmp_path)["epoch"] == 1 and run.watch.start == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"iterations": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"seed": -1}]
)
def test_a_plan_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"epochs, iterations, learning rate, seed: expected"):
        PretrainingPlan(**change)


def test_a_full_disk_leaves_the_epoch_before(
    target: WeightTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = torch.save, []

    def failing(content: Any, path: Any) -> None:
        calls.append(path)
        if len(calls) == 3:  # state and checkpoint of the first epoch, state of the second
            Path(path).write_bytes(b"half")
            raise OSError("no space left on device")
        save(content, path)

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(OSError, match="no space"):
        quietly(pretraining(target, tmp_path / "run"))

    assert state_of(tmp_path / "run")["epoch"] == 1
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted([STATE, CURVE, CHECKPOINT])


def test_a_folder_that_disappears_is_not_made_again(target: WeightTarget, tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    run = pretraining(target, folder)
    folder.rmdir()

    with pytest.raises(FileNotFoundError, match="mounted"):
        quietly(run)

    assert not folder.exists()
