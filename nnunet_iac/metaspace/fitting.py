"""Fitting a meta-space: a fixed number of steps, the same for the same seed, on nothing but the given tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_iac.metaspace.losses import contrastive_loss, fid_loss, normalised_fid, performance_loss, rank_loss
from nnunet_iac.metaspace.networks import MetaNetworks
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space import MetaSpace
from nnunet_iac.metaspace.standardisation import Standardisation
from nnunet_iac.metaspace.task import Candidates, Task, check_tasks
from nnunet_iac.similarity.gaussians import Gaussian, bures_wasserstein_matrix

Array = NDArray[np.float64]

FEWEST = 2
"""Data sets that a fit needs; one alone has nothing to be told from."""


def fit(tasks: Sequence[Task], settings: FitSettings | None = None, *, fid: Array | None = None) -> MetaSpace:
    """Return a meta-space fitted on all given tasks.

    Each step draws images and candidates of every task with replacement and descends the weighted sum of the losses
    (AdamW, learning rate along a cosine). The positive model of a data set in the contrastive loss is the best of those
    drawn. Standardisation, normalisation of FID and weights come from these tasks alone; whoever evaluates leaves tasks
    out of the list. On the CPU the same tasks and settings give the same weights, bit by bit, with the same number of
    threads. Global random state is neither read nor changed.

    Args:
        tasks: of at least two data sets.
        settings: default: all as :class:`FitSettings` has it.
        fid: ``(D, D)`` from :func:`squared_fid`, if it is known already.

    Raises:
        ValueError: if there are fewer than two data sets, or tasks do not fit together.
        FloatingPointError: if a loss or a gradient is NaN or Inf; the message names the loss.

    Example:
        >>> from nnunet_iac.metaspace.task import DatasetSample
        >>> from nnunet_iac.metaspace.topology import TOPOLOGY
        >>> from nnunet_iac.zoo.configuration import SubnetConfiguration
        >>> rng, one = np.random.default_rng(0), SubnetConfiguration((1, 1), (1,), (1.0, 1.0))
        >>> models = Candidates(rng.random((4, TOPOLOGY)), rng.random((4, 3)), rng.random(4), np.ones(4), (one,) * 4)
        >>> tasks = [Task(name, DatasetSample(name, rng.random((5, 2)), "random"), models) for name in ("a", "b")]
        >>> space = fit(tasks, FitSettings(steps=2))
        >>> dataset = space.embed_dataset(tasks[0].sample)
        >>> space.similarity(dataset, space.embed_models(models.topology, models.responses)).shape
        (4,)
    """
    settings = settings or FitSettings()
    check_tasks(tasks, FEWEST)
    distances = squared_fid(tasks) if fid is None else fid
    networks = _networks(tasks, settings)
    data = _Data(tasks, networks, normalised_fid(torch.from_numpy(distances)).float())
    optimizer = torch.optim.AdamW(networks.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    losses: dict[str, float] = {}
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * step / settings.steps)) / 2
        terms = _terms(networks, data, settings, generator)
        total = torch.stack([settings.weights[name] * term for name, term in terms.items()]).sum()
        _check_finite("loss", terms.values(), step, terms)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        _check_finite("gradients", [p.grad for p in networks.parameters() if p.grad is not None], step, terms)
        optimizer.step()
        losses = {name: term.item() for name, term in terms.items()}
    return _frozen(networks, tasks, settings, losses)


def squared_fid(tasks: Sequence[Task]) -> Array:
    """Return the squared Fréchet distances ``(D, D)`` of the tasks' image features."""
    whole = [Gaussian.from_samples(task.sample.features) for task in tasks]
    return np.square(bures_wasserstein_matrix(whole, whole))


class _Data:
    """Standardised inputs of all tasks, one below the other."""

    def __init__(self, tasks: Sequence[Task], networks: MetaNetworks, fid: Tensor) -> None:
        candidates = [task.candidates for task in tasks]
        self.fid = fid
        self.names = [task.dataset for task in tasks]
        self.images = _Rows([networks.image_rows(torch.from_numpy(task.sample.features)) for task in tasks])
        self.models = _Rows([networks.model_rows(*_model_inputs(c)) for c in candidates])
        self.dice = torch.cat([torch.from_numpy(c.dice) for c in candidates])

    def draw(self, settings: FitSettings, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return images ``(D, I, F)``, models ``(D, M, T + R)`` and performances ``(D, M)`` of one step."""
        chosen = self.models.draw(settings.candidates, generator)
        images = self.images.draw(settings.images, generator)
        return self.images.rows[images], self.models.rows[chosen], self.dice[chosen]


class _Rows:
    """Rows of several groups, to draw from."""

    def __init__(self, groups: Sequence[Tensor]) -> None:
        self.rows = torch.cat(list(groups))
        self.sizes = torch.tensor([len(group) for group in groups])[:, None]
        self.starts = self.sizes.cumsum(dim=0) - self.sizes

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the places ``(groups, count)`` of rows drawn uniformly with replacement from each group."""
        shares = torch.rand((len(self.sizes), count), generator=generator, dtype=torch.float64)
        return self.starts + (shares * self.sizes).long()


def _model_inputs(candidates: Candidates) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(candidates.topology), torch.from_numpy(candidates.responses)


def _terms(networks: MetaNetworks, data: _Data, settings: FitSettings, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the losses that count."""
    images, rows, dice = data.draw(settings, generator)
    datasets, models = networks.encode_dataset(images), networks.encode_models(rows)
    terms: dict[str, Tensor] = {}
    if settings.performance:
        terms["performance"] = performance_loss(networks.predict(datasets[:, None], models), dice.float())
    if settings.rank:
        similarities = torch.einsum("de,dme->dm", datasets, models)
        terms["rank"] = rank_loss(similarities, dice, sigma=settings.sigma)
    if settings.fid:
        terms["fid"] = fid_loss(datasets, data.fid, beta=settings.beta)
    if settings.contrastive:
        best = models[torch.arange(len(models)), dice.argmax(dim=1)]
        terms["contrastive"] = contrastive_loss(datasets, best, margin=settings.margin, names=data.names)
    return terms


def _networks(tasks: Sequence[Task], settings: FitSettings) -> MetaNetworks:
    return MetaNetworks(
        Standardisation.of([task.sample.features for task in tasks]),
        Standardisation.of([task.candidates.topology for task in tasks]),
        Standardisation.of([task.candidates.responses for task in tasks]),
        settings,
    )


@torch.no_grad()
def _frozen(
    networks: MetaNetworks, tasks: Sequence[Task], settings: FitSettings, losses: dict[str, float]
) -> MetaSpace:
    networks.requires_grad_(False).eval()
    embeddings = [networks.encode_dataset(networks.image_rows(torch.from_numpy(t.sample.features))) for t in tasks]
    return MetaSpace(
        networks=networks,
        settings=settings,
        encoder=tasks[0].sample.encoder,
        tasks=tuple(task.name for task in tasks),
        datasets=tuple(task.dataset for task in tasks),
        embeddings=torch.stack(embeddings),
        losses=losses,
        digests=tuple(task.digest for task in tasks),
        ancestors=tuple(sorted({seen for task in tasks for seen in task.lineage} - {task.dataset for task in tasks})),
    )


def _check_finite(what: str, tensors: Iterable[Tensor], step: int, terms: Mapping[str, Tensor]) -> None:
    if all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        return
    bad = [name for name, term in terms.items() if not bool(torch.isfinite(term))]
    where = f"in the {' and '.join(bad)} loss" if bad else "while all losses are finite"
    raise FloatingPointError(
        f"{what}: expected finite numbers, got NaN or Inf in step {step}, {where}; lower the learning rate"
    )
