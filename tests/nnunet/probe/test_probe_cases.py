"""How many patients a probe holds out."""

from __future__ import annotations

from nnunet_iac.nnunet.files.splits import GROUPS, Grouping
from nnunet_iac.nnunet.probe.probe_cases import count_patients, draw_cases

PATIENTS = Grouping({f"p{p}_{case}": f"p{p}" for p in range(40) for case in "ab"}, f"{GROUPS} in a test")
CASES = list(PATIENTS.patient)


def test_no_more_patients_are_held_out_than_the_limit_and_the_others_train() -> None:
    training, held_out = draw_cases(CASES, PATIENTS, share=0.3, most=5)

    assert (count_patients(training, PATIENTS), count_patients(held_out, PATIENTS)) == (35, 5)
    assert sorted([*training, *held_out]) == sorted(CASES)


def test_the_share_is_the_other_limit_and_the_draw_is_that_of_earlier_versions() -> None:
    unlimited = draw_cases(CASES, PATIENTS, share=0.3, most=None)

    assert count_patients(unlimited[1], PATIENTS) == 12
    assert draw_cases(CASES, PATIENTS, share=0.3, most=12) == draw_cases(CASES, PATIENTS, share=0.3, most=20)
    assert draw_cases(CASES, PATIENTS, share=0.3, most=20) == unlimited
    assert set(draw_cases(CASES, PATIENTS, share=0.3, most=5)[1]) < set(unlimited[1])


def test_of_a_fold_whose_patients_are_unknown_the_cases_over_the_limit_are_not_used() -> None:
    folds = Grouping({f"c{n}": f"fold {n % 4}" for n in range(40)}, "the folds of a test")

    training, held_out = draw_cases(list(folds.patient), folds, share=0.3, most=4)

    assert (len(training), len(held_out)) == (30, 4)
    assert not {folds.patient[case] for case in training} & {folds.patient[case] for case in held_out}
