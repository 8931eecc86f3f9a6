"""The guard of performance can fail: a ratio beyond its limit is status 1."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("guard_performance")


def measure(guard: ModuleType, monkeypatch: pytest.MonkeyPatch, **ratios: float) -> None:
    """Let the only guard be one that has measured these ratios."""
    found = {getattr(guard, name): ratio for name, ratio in ratios.items()}
    monkeypatch.setattr(guard, "GUARDS", {"all": lambda repeats: found})


@pytest.mark.parametrize(("step", "memory", "status"), [(1.4, 0.6, 0), (1.2, 0.6, 1), (1.4, 0.7, 1)])
def test_a_ratio_on_the_wrong_side_of_its_limit_is_status_1(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: float, memory: float, status: int
) -> None:
    measure(guard, monkeypatch, STEP=step, MEMORY=memory)

    assert guard.main(["--json", str(tmp_path / "guard.json")]) == status
    rows = json.loads((tmp_path / "guard.json").read_text())["rows"]
    assert [row["ratio"] for row in rows] == [step, memory] and all(row["ok"] for row in rows) == (status == 0)


@pytest.mark.parametrize("ratio", [math.nan, -1.0, 0.0])
def test_a_ratio_that_is_none_fails(guard: ModuleType, ratio: float) -> None:
    (row,) = guard.judged({guard.DISTANCE: ratio})

    assert not row.ok and guard.table([row]).splitlines()[-1].endswith("| at least 30 | NO |")


def test_what_has_no_limit_is_not_passed_over(guard: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"got \['another'\]; give them a limit"):
        guard.judged({"another": 1.0})


def test_a_limit_holds_on_one_side_only(guard: ModuleType) -> None:
    assert all(math.isinf(limit.least) != math.isinf(limit.most) for limit in guard.LIMITS)


def test_retrieval_is_really_measured(guard: ModuleType) -> None:
    (row,) = guard.judged(guard.retrieval(1))

    assert row.what == guard.RETRIEVAL and 0.1 < row.ratio < 100
