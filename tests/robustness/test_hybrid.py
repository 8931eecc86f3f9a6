"""The probe's decision between no pretraining and the chosen checkpoint."""

from __future__ import annotations

import math
import statistics

import pytest

from nnunet_iac.robustness.hybrid import ProbeOutcome, decide, probe_outcome, settle_by_probe


def outcome(lead: float, standard_error: float = 0.01) -> ProbeOutcome:
    return ProbeOutcome(0.5, 0.5 + lead, standard_error, 10)


@pytest.mark.parametrize(("lead", "start"), [(0.02, "pretrained"), (-0.02, "no pretraining")])
@pytest.mark.parametrize("beats", [None, True, False])
def test_a_clear_probe_settles_it_whatever_the_losses_say(lead, start, beats):
    decision = decide(outcome(lead), beats_initialisation=beats)
    assert (decision.start, decision.settled_by) == (start, "probe")


@pytest.mark.parametrize("lead", [0.009, 0.0, -0.009])
@pytest.mark.parametrize(
    ("beats", "expected"),
    [(None, ("pretrained", "default")), (True, ("pretrained", "losses")), (False, ("no pretraining", "losses"))],
)
def test_an_unclear_probe_leaves_it_to_the_losses(lead, beats, expected):
    decision = decide(outcome(lead), beats_initialisation=beats)
    assert (decision.start, decision.settled_by) == expected


def test_more_deviations_need_a_larger_lead():
    decisions = [decide(outcome(-0.02), deviations=deviations).settled_by for deviations in (0, 1, 3)]
    assert decisions == ["probe", "probe", "default"]


def test_the_standard_error_is_that_of_paired_differences():
    before, after = [0.1, 0.5, 0.9], [0.2, 0.55, 0.95]

    found = probe_outcome(before, after)

    differences = [b - a for a, b in zip(before, after, strict=True)]
    assert found.lead == pytest.approx(statistics.fmean(differences))
    assert found.standard_error == pytest.approx(statistics.stdev(differences) / math.sqrt(3))
    assert found.measurements == 3


def test_known_noise_makes_one_measurement_enough():
    assert probe_outcome([0.8], [0.7], noise=0.03).standard_error == 0.03


def test_both_candidates_are_probed_once():
    asked = []

    def probe(start):
        asked.append(start)
        return [0.8, 0.9] if start == "no pretraining" else [0.7, 0.8]

    assert settle_by_probe(probe).start == "no pretraining"
    assert asked == ["no pretraining", "pretrained"]


@pytest.mark.parametrize(
    ("before", "after", "noise", "message"),
    [
        ([0.5], [0.5, 0.6], None, "pretrained: .* as many as the 1"),
        ([], [], None, "pretrained: "),
        ([0.5], [0.6], None, "at least 2 patients, got 1; .* give the noise"),
        ([0.5, math.nan], [0.5, 0.6], None, "no_pretraining: .*nan"),
        ([0.5, 0.5], [0.5, 60.0], None, r"pretrained: .*60\.0"),
        ([0.5], [0.6], -1.0, "noise: "),
    ],
)
def test_measurements_that_cannot_be_compared_are_refused(before, after, noise, message):
    with pytest.raises(ValueError, match=message):
        probe_outcome(before, after, noise=noise)


def test_a_negative_number_of_deviations_is_refused():
    with pytest.raises(ValueError, match="deviations"):
        decide(outcome(0.1), deviations=-1)
