"""One epoch of a search: steps on architecture and weights, then the decision what to prune."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from nnunet_iac.cells.discretise import top_edges
from nnunet_iac.search import ranks
from nnunet_iac.search.bilevel import Batch, Loss, Precision, architecture_step, weight_step
from nnunet_iac.search.plan import SearchPlan
from nnunet_iac.search.run import Run
from nnunet_iac.search.smoothing import (
    adversarial_perturbation,
    beta_decay,
    evaluating,
    perturbation_size,
    random_perturbation,
)
from nnunet_iac.search.stability import chance_gap, update
from nnunet_iac.search.trace import EpochRecord, epoch_record


def run_epoch(
    run: Run,
    loss: Loss,
    streams: tuple[Iterator[Batch], Iterator[Batch]],
    plan: SearchPlan,
    precision: Precision,
) -> EpochRecord:
    """Run one epoch and return its line for the trace; the run advances in place.

    Args:
        run: the search.
        loss: ``loss(output, target)``.
        streams: batches for the weights and for the architecture.
        plan: how to search.
        precision: where and how precisely to compute.

    Raises:
        FloatingPointError: if a loss, a gradient or a logit is NaN or Inf, with its source; the run is then to be
            restored.
    """
    started = time.perf_counter()
    searching = run.epoch >= plan.warmup_epochs
    for group in run.weights.param_groups:
        group["lr"] = plan.weight_lr * (1 - run.epoch / plan.epochs) ** 0.9
    eased = plan.is_eased(run.epoch)
    for group in run.architecture.param_groups:
        group["lr"] = plan.architecture_lr * (plan.easing if eased else 1.0)
    run.network.train()
    run.cells.auxiliary_skip = plan.auxiliary_skip_at(run.epoch)
    weight_losses, architecture_losses = [], []
    for _ in range(plan.iterations):
        weight_batch, architecture_batch = (next(s) for s in streams)
        run.batches += 1
        if searching:
            with _named(run, loss, architecture_batch, precision):
                architecture_losses.append(_architecture_step(run, loss, architecture_batch, plan, precision))
                _check_finite(run, architecture_losses[-1])
        with _named(run, loss, weight_batch, precision):
            weight_losses.append(_weight_step(run, loss, weight_batch, plan, precision))
            _check_finite(run, weight_losses[-1])
    if searching and not eased:
        _decide(run, plan)
    seconds = time.perf_counter() - started
    record = epoch_record(
        epoch=run.epoch,
        phase="search" if searching else "warmup",
        seconds=seconds,
        weight_loss=_mean(weight_losses),
        arch_loss=_mean(architecture_losses) if searching else None,
        probabilities=run.cells.architecture.probabilities(),
        edge_weights=run.cells.architecture.edge_weights(),
        decision=run.decision,
    )
    run.seconds += seconds
    run.epoch += 1
    return record


def _architecture_step(run: Run, loss: Loss, batch: Batch, plan: SearchPlan, precision: Precision) -> float:
    alpha = run.cells.architecture.alpha
    before = alpha.detach().clone()
    value = architecture_step(run.network, loss, batch, run.architecture, precision, _penalty(run, plan))
    run.variation += (alpha.detach() - before).double().cpu() ** 2
    return value


def _penalty(run: Run, plan: SearchPlan) -> Callable[[], torch.Tensor] | None:
    """Return beta-decay, whose weight grows linearly over the budget, or None."""
    if plan.beta_decay == 0:
        return None
    architecture, weight = run.cells.architecture, plan.beta_decay * run.epoch / plan.epochs
    return lambda: weight * beta_decay(architecture.alpha, architecture.mask)


def _weight_step(run: Run, loss: Loss, batch: Batch, plan: SearchPlan, precision: Precision) -> float:
    architecture = run.cells.architecture
    if plan.perturbation == "none":
        return weight_step(run.network, loss, batch, run.weights, precision)
    size = perturbation_size(run.epoch, plan.epochs, plan.perturbation_size)
    clean, mask = architecture.probabilities().detach(), architecture.mask
    if plan.perturbation == "random":
        perturbed = random_perturbation(clean, mask, size)
    else:

        def loss_at(probabilities: torch.Tensor) -> torch.Tensor:
            with architecture.using(probabilities):
                value = precision.loss_of(run.network, loss, batch)
            # Neither the sign of its gradient nor a comparison depends on the scale, but float16 does.
            return value if precision.scaler is None else precision.scaler.scale(value)

        with evaluating(run.network):
            perturbed = adversarial_perturbation(clean, mask, size, loss_at)
    with architecture.using(perturbed):
        return weight_step(run.network, loss, batch, run.weights, precision)


def _decide(run: Run, plan: SearchPlan) -> None:
    architecture = run.cells.architecture
    # The first rank's, so that no rounding error makes ranks decide differently.
    probabilities = ranks.same(architecture.probabilities().detach())
    topology = _topology(probabilities, ranks.same(architecture.edge_weights().detach()), run.cells.shape.nodes)
    variation = ranks.gather(run.variation)[0]  # on the CPU, where not every backend broadcasts
    run.stability, run.decision = update(
        plan.rule,
        run.stability,
        probabilities,
        architecture.mask,
        topology,
        gap=chance_gap(variation, probabilities.double().cpu()),
        prune=plan.prune,
    )
    if run.decision.pruned:
        architecture.set_mask(run.decision.mask)
        _restart_moments(run)


def _restart_moments(run: Run) -> None:
    """Forget Adam's momentum on pruned edges, and everything on pruned operations.

    The second moments of surviving operations stay: with the shared step counter, zeros there would be taken for
    tiny gradients and the next step would be 16 times too long.
    """
    moments = run.architecture.state[run.cells.architecture.alpha]
    for group, edge, operation in run.decision.pruned:
        moments["exp_avg"][group, edge] = 0.0
        moments["exp_avg_sq"][group, edge, operation] = 0.0


def _topology(probabilities: torch.Tensor, edge_weights: torch.Tensor, nodes: int) -> str:
    weights = (probabilities * edge_weights.unsqueeze(-1)).detach().double().cpu()
    kept = [[e for node in top_edges(w, nodes) for e in node] for w in weights]
    choices = weights[..., 1:].argmax(-1).tolist()
    return ";".join(",".join(f"{e}:{choices[g][e]}" for e in edges) for g, edges in enumerate(kept))


@contextmanager
def _named(run: Run, loss: Loss, batch: Batch, precision: Precision) -> Iterator[None]:
    """Add epoch and source to the error of a batch with NaN or Inf; all ranks are here together, or none is."""
    try:
        yield
    except FloatingPointError as error:
        finding = precision.source_of(run.network, loss, batch)
        raise FloatingPointError(f"{error} in epoch {run.epoch}. {finding}. {finding.advice}") from error


def _check_finite(run: Run, loss: float) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(f"loss: expected a finite number, got {loss}")
    for name in ("alpha", "beta"):
        if not bool(torch.isfinite(getattr(run.cells.architecture, name)).all()):
            raise FloatingPointError(f"{name}: expected finite logits, got NaN or Inf")


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
