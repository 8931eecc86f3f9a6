"""``training.deterministic``: on during the run, off after it, and without effect on a CPU's numbers."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from nnunet_folders import Folders
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from tiny_dataset import configure, equal, final_weights, log_of, train
from torch import nn

from nnunet_iac.nnunet.training.determinism import (
    WORKSPACE,
    GatheredCrossEntropy,
    deterministic,
    with_deterministic_entropy,
)
from nnunet_iac.nnunet.training.trainers import IACTrainer

TRAINER = "nnUNetTrainerIACRandom"


def flags() -> tuple[bool, ...]:
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, cudnn.deterministic


def test_a_run_has_the_flags_says_so_gives_them_back_and_equals_one_without(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    configure("same", "training.deterministic=true")
    before, seen, step = flags(), [], IACTrainer.train_step
    train(TRAINER)

    with monkeypatch.context() as patch:
        patch.setattr(IACTrainer, "train_step", lambda self, batch: seen.append(flags()) or step(self, batch))
        train(TRAINER, plans="same")

    assert seen == [(True, False, True)] * 4 and flags() == before == (False, True, False)
    folds = [tiny.results / f"{TRAINER}__{plans}__2d" / "fold_0" for plans in ("tiny", "same")]
    assert equal(*(final_weights(fold) for fold in folds))
    said = [("Deterministic: A stock nnUNetTrainer cannot be seeded" in log_of(fold)) for fold in folds]
    assert said == [False, True]


def test_a_run_that_fails_gives_the_flags_back() -> None:
    before = flags(), torch.is_deterministic_algorithms_warn_only_enabled()
    with pytest.raises(RuntimeError, match="in between"), deterministic(True, torch.device("cpu"), lambda _: None):
        raise RuntimeError("in between")
    assert (flags(), torch.is_deterministic_algorithms_warn_only_enabled()) == before


@pytest.mark.parametrize("given", [None, ":16:8"])
def test_the_workspace_of_cublas_is_set_unless_it_is(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    if given:
        monkeypatch.setenv(WORKSPACE, given)
    said: list[str] = []

    with deterministic(True, torch.device("cuda"), said.append):
        assert os.environ[WORKSPACE] == (given or ":4096:8")

    assert os.environ.get(WORKSPACE) == given and any(WORKSPACE in line for line in said) == (given is None)


def images(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 6, 7, generator=generator, requires_grad=True)
    return logits, torch.randint(0, 3, (2, 1, 6, 7), generator=generator)


@pytest.mark.parametrize("ignored", [None, 2])
def test_nnunets_loss_keeps_value_and_gradient(ignored: int | None) -> None:
    logits, target = images()
    whole = DC_and_CE_loss({"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, ignore_label=ignored)
    loss: Any = DeepSupervisionWrapper(whole, (1.0,))
    (expected,) = torch.autograd.grad(value := loss([logits], [target]), logits)

    changed = with_deterministic_entropy(loss)
    (found,) = torch.autograd.grad(again := changed([logits], [target]), logits)

    assert isinstance(changed.loss.ce, GatheredCrossEntropy)
    assert torch.allclose(value, again, atol=1e-6) and torch.allclose(expected, found, atol=1e-7)


def test_an_entropy_with_weights_stays() -> None:
    loss = nn.ModuleDict({"ce": nn.CrossEntropyLoss(torch.ones(3))})
    assert isinstance(with_deterministic_entropy(loss)["ce"], nn.CrossEntropyLoss)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_gathered_entropy_has_a_deterministic_gradient_on_cuda() -> None:
    logits, target = (t.detach().cuda() for t in images())
    logits.requires_grad_(True)
    with deterministic(True, logits.device, lambda _: None):
        GatheredCrossEntropy()(logits, target).backward()
