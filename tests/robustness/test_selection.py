"""Offline and online selection on hand-made curves."""

from __future__ import annotations

import json
import math

import pytest

from nnunet_iac.robustness.selection import OnlineState, StoppingRule, best_checkpoint, update

CURVE = [0.50, 0.40, 0.42, 0.41, 0.30, 0.31, 0.32, 0.33]


def walk(losses: list[float], patience: int, smoothing: float = 0.0) -> tuple[int, int]:
    """Return the check that was chosen, and the check of the stop (0: it did not stop)."""
    state = OnlineState(StoppingRule(patience, smoothing))
    for loss in losses:
        state, decision = update(state, loss)
        if decision.stop:
            return decision.best_check, state.checks
    return state.best_check, 0


@pytest.mark.parametrize(
    ("patience", "expected"), [(1, (2, 3)), (2, (2, 4)), (3, (5, 8)), (4, (5, 0))], ids=lambda value: str(value)
)
def test_it_stops_after_patience_checks_without_a_new_minimum(patience, expected):
    assert walk(CURVE, patience) == expected


def test_a_falling_curve_never_stops():
    assert walk([1 / n for n in range(1, 20)], patience=1) == (19, 0)


def test_an_equal_loss_is_no_new_minimum():
    assert walk([0.5, 0.5], patience=1) == (1, 2)


def test_smoothing_walks_over_a_bump():
    # Smoothed by one half: 0.5, 0.45, 0.435, 0.4225, 0.361, ...
    assert walk(CURVE[:5], patience=1, smoothing=0.5) == (5, 0)
    assert walk(CURVE[:5], patience=1) == (2, 3)


def test_smoothed_losses_are_the_moving_average():
    state = OnlineState(StoppingRule(smoothing=0.75))
    for loss in (1.0, 0.0, 0.0):
        state, _ = update(state, loss)
    assert (state.smoothed, state.best_loss) == (0.5625, 0.5625)


def test_decisions_say_when_to_keep_the_weights():
    state = OnlineState(StoppingRule(patience=9))
    improved = []
    for loss in CURVE:
        state, decision = update(state, loss)
        improved.append(decision.improved)
    assert improved == [True, True, False, False, True, False, False, False]


def test_an_update_leaves_the_old_state_alone():
    state = OnlineState()
    update(state, 0.5)
    assert state == OnlineState()


def test_a_stopped_state_stays_stopped():
    state = OnlineState(StoppingRule(patience=1))
    for loss in (0.5, 0.6):
        state, _ = update(state, loss)
    after, decision = update(state, 0.1)
    assert after == state and decision.stop and decision.best_check == 1


def test_a_state_goes_on_after_json():
    state = OnlineState(StoppingRule(3, 0.5), initial_loss=0.45)
    for number, loss in enumerate(CURVE):
        assert OnlineState.from_json(json.loads(json.dumps(state.to_json()))) == state, number
        state, _ = update(state, loss)


@pytest.mark.parametrize(("initial", "expected"), [(None, None), (0.45, True), (0.40, False), (0.35, False)])
def test_random_initialisation_is_compared_and_never_chosen(initial, expected):
    state = OnlineState(StoppingRule(patience=5), initial_loss=initial)
    assert state.beats_initialisation is None
    for loss in (0.5, 0.4):
        state, _ = update(state, loss)
    assert state.beats_initialisation is expected
    assert state.best_check == 2


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_refused_with_the_best_so_far(loss):
    state, _ = update(OnlineState(), 0.5)
    with pytest.raises(ValueError, match=r"at check 2; .* check 1 are the best"):
        update(state, loss)


@pytest.mark.parametrize("words", [{"patience": 0}, {"smoothing": 1.0}, {"smoothing": -0.1}])
def test_a_rule_out_of_range_is_refused(words):
    with pytest.raises(ValueError, match=next(iter(words))):
        StoppingRule(**words)


def test_offline_takes_the_smallest_loss_and_of_equal_ones_the_shortest():
    assert best_checkpoint({300: 0.2, 20: 0.2, 1: 0.9}) == 20


@pytest.mark.parametrize(
    ("losses", "message"),
    [({}, "at least one"), ({1: math.nan}, "finite"), ({0: 0.1, 1: 0.2}, "lengths from 1, got 0; .*probe")],
)
def test_offline_refuses_what_it_cannot_rank(losses, message):
    with pytest.raises(ValueError, match=message):
        best_checkpoint(losses)
