"""Know when no pretraining is best: a short downstream probe of two candidates settles it (ours).

The robustness loss cannot answer this question, which 2410.18677 leaves open. On the published curves whose loss of
random initialisation can be used (COVID-QU, 12 set-ups, the code's configuration) that loss was never below the chosen
checkpoint's, and yet no pretraining gave the better Dice in 2 of them (``scripts/reproduce_tis.py``).

So the target itself is asked: two short trainings of the downstream task, one from random initialisation and one from
the checkpoint that the loss chose, and their Dice on the same patients. With the mean lead ``d`` of the pretrained one
and its standard error ``s``::

    d < -deviations * s:  no pretraining
    d > +deviations * s:  the checkpoint
    else:                 what the losses say, if random initialisation was scored; otherwise the checkpoint

What the probe costs is two short trainings; when it decides, the pretraining is paid for already. A short budget
favours pretrained weights, which learn faster at first: a lead of random initialisation is strong evidence, a small
lead of the checkpoint is not. The published measurements hold no short trainings, so this is not measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Start = Literal["no pretraining", "pretrained"]
"""The two candidates."""

Probe = Callable[[Start], Sequence[float]]
"""Trains from a candidate for a short budget and returns a Dice of each patient (or seed), always in the same order."""


@dataclass(frozen=True)
class ProbeOutcome:
    """What the probe measured.

    Attributes:
        no_pretraining: mean Dice from random initialisation, in [0, 1].
        pretrained: mean Dice from the checkpoint.
        standard_error: of the difference of the two.
        measurements: number of pairs.
    """

    no_pretraining: float
    pretrained: float
    standard_error: float
    measurements: int

    @property
    def lead(self) -> float:
        """Mean Dice from the checkpoint minus that from random initialisation."""
        return self.pretrained - self.no_pretraining


@dataclass(frozen=True)
class HybridDecision:
    """Which weights to start from, and who said so.

    Attributes:
        start: the candidate to take.
        settled_by: ``"probe"``, or ``"losses"`` where the probe could not tell and random initialisation was scored,
            or ``"default"`` where it was not.
        outcome: what the probe measured.
    """

    start: Start
    settled_by: Literal["probe", "losses", "default"]
    outcome: ProbeOutcome


def settle_by_probe(
    probe: Probe, *, beats_initialisation: bool | None = None, noise: float | None = None, deviations: float = 1.0
) -> HybridDecision:
    """Probe both candidates and decide; the arguments are those of :func:`probe_outcome` and :func:`decide`.

    Example:
        >>> dice = {"no pretraining": [0.81, 0.86, 0.79], "pretrained": [0.80, 0.84, 0.78]}
        >>> settle_by_probe(dice.__getitem__).start
        'no pretraining'
    """
    outcome = probe_outcome(probe("no pretraining"), probe("pretrained"), noise=noise)
    return decide(outcome, beats_initialisation=beats_initialisation, deviations=deviations)


def probe_outcome(
    no_pretraining: Sequence[float], pretrained: Sequence[float], *, noise: float | None = None
) -> ProbeOutcome:
    """Return the two means and the standard error of their difference.

    Args:
        no_pretraining: Dice from random initialisation, in [0, 1], one for each patient or seed.
        pretrained: Dice from the checkpoint, of the same patients in the same order.
        noise: standard deviation of one difference, if it is known from elsewhere; otherwise it is estimated from the
            pairs, of which there must be two.

    Raises:
        ValueError: if the two do not fit each other, hold values that are no Dice, or the noise cannot be known.

    Example:
        >>> outcome = probe_outcome([0.80, 0.90], [0.82, 0.90])
        >>> round(outcome.lead, 3), round(outcome.standard_error, 3)
        (0.01, 0.01)
    """
    if len(no_pretraining) != len(pretrained) or not pretrained:
        raise ValueError(
            f"pretrained: expected a Dice of each patient, as many as the {len(no_pretraining)} without pretraining, "
            f"got {len(pretrained)}; probe both candidates on the same patients"
        )
    for name, values in (("no_pretraining", no_pretraining), ("pretrained", pretrained)):
        if not all(0 <= value <= 1 for value in values):
            raise ValueError(f"{name}: expected Dice values in [0, 1], got {list(values)}; leave such patients out")
    if noise is not None and not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise: expected a finite number of at least 0, got {noise}")
    if noise is None and len(pretrained) < 2:
        raise ValueError("pretrained: expected at least 2 patients, got 1; probe more of them, or give the noise")
    differences = [after - before for before, after in zip(no_pretraining, pretrained, strict=True)]
    deviation = statistics.stdev(differences) if noise is None else noise
    return ProbeOutcome(
        statistics.fmean(no_pretraining),
        statistics.fmean(pretrained),
        deviation / math.sqrt(len(differences)),
        len(differences),
    )


def decide(
    outcome: ProbeOutcome, *, beats_initialisation: bool | None = None, deviations: float = 1.0
) -> HybridDecision:
    """Return which candidate to take, by the rule above; pure.

    Args:
        outcome: of the probe.
        beats_initialisation: whether the checkpoint's loss is below that of random initialisation, see
            :attr:`nnunet_iac.robustness.selection.OnlineState.beats_initialisation`; None if that was not scored.
        deviations: standard errors by which a candidate must lead.

    Raises:
        ValueError: if ``deviations`` is negative or not finite.

    Example:
        >>> decide(ProbeOutcome(0.80, 0.79, standard_error=0.02, measurements=1)).settled_by
        'default'
    """
    if not (math.isfinite(deviations) and deviations >= 0):
        raise ValueError(f"deviations: expected a finite number of at least 0, got {deviations}")
    needed = deviations * outcome.standard_error
    if abs(outcome.lead) > needed:
        return HybridDecision("pretrained" if outcome.lead > 0 else "no pretraining", "probe", outcome)
    if beats_initialisation is None:
        return HybridDecision("pretrained", "default", outcome)
    return HybridDecision("pretrained" if beats_initialisation else "no pretraining", "losses", outcome)
