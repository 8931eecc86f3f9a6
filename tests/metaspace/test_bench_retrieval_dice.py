"""The pure parts of ``scripts/bench_retrieval_dice.py``: which candidate, which patches, and the tables."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
TARGETS = ("Dataset004_A", "Dataset501_B")


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def ranked() -> list[Any]:
    """Candidates of two data sets; those of B do best on their own, candidate 2 and 3 equally well."""
    dice = {"A": [0.9, 0.8, 0.7, 0.6], "B": [0.1, 0.2, 0.5, 0.5]}
    tasks = [SimpleNamespace(name=n, dataset=n, candidates=SimpleNamespace(dice=d)) for n, d in dice.items()]
    return [SimpleNamespace(task=task, index=index) for index in range(4) for task in tasks]


def test_nearest_takes_the_best_of_the_nearest_data_set_and_of_equal_ones_the_first() -> None:
    arms = importlib.import_module("retrieval_dice_arms")

    for order in (ranked(), ranked()[::-1]):
        one, words = arms.pick("nearest", order, "B", (0, 4))
        assert (one.task.name, one.index) == ("B", 2) and words.startswith("the best by its Dice on B")


def test_random_draws_from_all_and_depends_on_seed_and_target_only() -> None:
    pick = importlib.import_module("retrieval_dice_arms").pick
    drawn = {(one.task.name, one.index) for seed in range(60) for one in [pick("random", ranked(), "B", (seed, 4))[0]]}

    assert len(drawn) == 8
    first, again = (pick("random", order, near, (1, 4))[0] for order, near in ((ranked(), "A"), (ranked()[::-1], "B")))
    assert (first.task.name, first.index) == (again.task.name, again.index)


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ([], {}),
        (["64", "64"], {t: (64, 64) for t in TARGETS}),
        (["4=56x40"], {"Dataset004_A": (56, 40)}),
        (["96x96", "501=64x32"], {"Dataset004_A": (96, 96), "Dataset501_B": (64, 32)}),
    ],
)
def test_patch_sizes_are_for_all_or_for_one(words: list[str], sizes: dict[str, tuple[int, ...]]) -> None:
    assert importlib.import_module("retrieval_dice_study").patch_sizes(words, TARGETS) == sizes


@pytest.mark.parametrize(("word", "message"), [("9=8x8", "numbers of targets"), ("4=8y8", "expected such as 96x96")])
def test_a_patch_size_of_nothing_is_refused(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        importlib.import_module("retrieval_dice_study").patch_sizes([word], TARGETS)


def test_what_the_supernets_of_all_candidates_have_seen_counts() -> None:
    facts = {"a": {"host": {"dataset": "A"}, "ancestors": ["C"]}, "b": {"host": None}}
    zoo = SimpleNamespace(entry=lambda number: SimpleNamespace(dataset=number.upper(), facts=facts[number]))
    candidates = [{"supernet": "a"}, {"supernet": "b"}]

    found = importlib.import_module("retrieval_dice_arms")._datasets(zoo, {"candidates": candidates})

    assert found == {"A", "B", "C"}


def record(target: str, dice: dict[str, float], *, outlier: bool = False) -> dict[str, Any]:
    """What is known of one target with one seed and one retrieved arm, T5."""
    difference = {"difference": dice["T5"] - dice["scratch"], "interval": {"low": -1, "high": 2.5}, "of_runs": None}
    found = {"outlier": outlier, "sources": ["A", "B"], "nearest": "A", "distance": 1.5, "p_value": 0.25}
    found |= {
        "steps": 0 if outlier else 100,
        "seconds": 12.3,
        "failed": 1,
        "source": "A",
        "candidate": "A 2d candidate 7",
    }
    found |= {"depths": [1, 2], "decoder_depths": [1], "widths": [0.5, 1.0], "parameters": 1_500_000}
    found |= {"predicted_dice": 0.5, "dice_after_an_epoch": 40.0}
    return {
        **{"target": target, "patients": 4, "grouping": None, "dice": dice},
        **{"against_scratch": {"T5": difference}, "retrieved": {"T5": {"0": found}}},
    }


def test_the_tables_show_outliers_regret_signs_and_cost() -> None:
    tables = importlib.import_module("retrieval_dice_tables")
    records = [record("C", {"scratch": 70.0, "T5": 72.5}), record("D", {"scratch": 60.0, "T5": 60.0}, outlier=True)]

    text = tables.markdown(records, ["scratch", "T5"])

    assert "| C | 4 (cases) | 70.00 | 72.50 |" in text
    assert "| D | 4 (cases) | 60.00 | 60.00 (outlier: default) |" in text
    assert "| mean |  | 65.00 | 66.25 |" in text and "| mean regret |  | 1.25 | 0.00 |" in text
    assert "| targets above/equal/below scratch |  |  | 1/1/0 |" in text and "| C | 4 | +2.50 [-1.00, +2.50] |" in text
    row = (
        "| C | 2 | A (1.5; 0.25) | 0 | T5 | A | A 2d candidate 7 (1 diverged) | 1 2 | 0.5 1 | 1 | 1.50 | 50.0 | 40.00 "
    )
    assert f"{row}| 100 | 12 |" in text
    assert "| D | 2 | A (1.5; 0.25) | 0 | T5 | outlier: default |  |  |  |  |  |  |  | 0 | 12 |" in text
