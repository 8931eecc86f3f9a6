"""Soft targets: a divergence, with the gradient of the cross-entropy, for classes and regions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nnunet_iac.zoo.distillation import distillation_loss, output_weights


def logits(seed: int, classes: int = 3) -> torch.Tensor:
    return torch.randn(2, classes, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_it_is_zero_for_equals_and_positive_otherwise(activation):
    assert float(distillation_loss(logits(0), logits(0), activation)) == pytest.approx(0, abs=1e-7)
    assert float(distillation_loss(logits(0), logits(1), activation)) > 0.1


def test_its_gradient_is_that_of_cross_entropy_with_soft_targets():
    student, teacher = logits(0).requires_grad_(), logits(1)
    (ours,) = torch.autograd.grad(distillation_loss(student, teacher), student)
    (theirs,) = torch.autograd.grad(F.cross_entropy(student, teacher.softmax(1)), student)
    torch.testing.assert_close(ours, theirs)


def test_its_gradient_for_regions_is_that_of_binary_cross_entropy():
    student, teacher = logits(0).requires_grad_(), logits(1)
    (ours,) = torch.autograd.grad(distillation_loss(student, teacher, "sigmoid"), student)
    entropy = F.binary_cross_entropy_with_logits(student, teacher.sigmoid(), reduction="none").sum(1).mean()
    (theirs,) = torch.autograd.grad(entropy, student)
    torch.testing.assert_close(ours, theirs)


def test_one_region_is_two_classes():
    student, teacher = logits(0, 1), logits(1, 1)
    both = [torch.cat([torch.zeros_like(x), x], 1) for x in (student, teacher)]
    torch.testing.assert_close(distillation_loss(student, teacher, "sigmoid"), distillation_loss(*both))


def test_confident_logits_stay_finite():
    value = distillation_loss(200 * logits(0), 200 * logits(1), "sigmoid")
    assert bool(torch.isfinite(value))


def test_the_teacher_gets_no_gradient():
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    distillation_loss(student, teacher).backward()
    assert student.grad is not None and teacher.grad is None


def test_outputs_of_deep_supervision_are_weighted_as_nnunet_does():
    students, teachers = [logits(0), logits(1), logits(2)], [logits(3), logits(4), logits(5)]
    parts = [distillation_loss(a, b) for a, b in zip(students, teachers, strict=True)]
    torch.testing.assert_close(distillation_loss(students, teachers), parts[0] * 2 / 3 + parts[1] / 3)
    assert output_weights(2) == (1.0, 0.0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="activation: expected one of"):
        distillation_loss(logits(0), logits(1), "relu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected equal shapes, got \[\(2, 3, 4, 4\)\] and \[\(2, 2, 4, 4\)\]"):
        distillation_loss(logits(0), logits(1, 2))
