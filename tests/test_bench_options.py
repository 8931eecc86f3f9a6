"""The benchmark of search options, with trainings that are fakes: one thing changed at a time, on the same hosts."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
from fake_trainings import FakeTrainings, fake_trainings
from nnunet_folders import Folders

SCRIPTS = str(Path(__file__).parents[1] / "scripts")


@pytest.fixture
def bench(planned: Folders, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, FakeTrainings]:
    _, fake = fake_trainings(planned, monkeypatch, SCRIPTS)
    return importlib.import_module("bench_options"), fake


Bench = tuple[ModuleType, FakeTrainings]


def words(tmp_path: Path, *options: str) -> list[str]:
    return [
        "-d",
        "990",
        "--seeds",
        "0",
        "1",
        "--json",
        str(tmp_path / "o.json"),
        *(["--options", *options] * (len(options) > 0)),
    ]


def test_every_option_starts_from_the_same_hosts_and_changes_its_own_settings_alone(
    bench: Bench, planned: Folders, tmp_path: Path
) -> None:
    module, fake = bench

    assert module.main(words(tmp_path)) == 0

    assert [name for name in fake.started if name.startswith("host")] == ["host, seed 0", "host, seed 1"]
    assert len(fake.started) == 2 + 2 + 2 * len(module.OPTIONS)
    blocks = {}
    for name in module.OPTIONS:
        tag = "option" if name == module.PLAIN else f"option_{module.slug(name)}"
        plans = json.loads((planned.preprocessed / f"nnUNetPlans_{tag}_seed1.json").read_text())
        blocks[name] = plans["configurations"]["2d"]["iac"]
        assert plans["derived_from"] == ("nnUNetPlans" if name == module.PLAIN else "nnUNetPlans_option_seed1")
    for name, settings in module.OPTIONS.items():
        changed = {
            f"search.{key}": value
            for key, value in blocks[name]["search"].items()
            if blocks["plain"]["search"].get(key) != value
        }
        assert {
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in changed.items()
        } == set(settings)
        assert {key: block for key, block in blocks[name].items() if key != "search"} == {
            key: block for key, block in blocks["plain"].items() if key != "search"
        }


def test_the_table_compares_each_option_with_the_plain_search(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, fake = bench
    fake.shift = lambda arm, seed: 1 if arm == "random" else 2
    assert module.main(words(tmp_path, "plain", "inherit")) == 0

    said = capsys.readouterr().out
    found = {row["option"]: row for row in json.loads((tmp_path / "o.json").read_text())["rows"]}
    assert list(found) == ["plain", "random", "inherit"] and "difference" not in found["plain"]
    assert found["random"]["difference"] > 0 and found["inherit"]["difference"] == 0
    assert found["inherit"]["of_runs"] == {"low": 0, "high": 0}
    # Fewer voxels are off in the random cells' masks, and less far.
    assert found["random"]["hd95"]["difference"] < 0 and found["inherit"]["hd95"]["difference"] == 0
    assert f"| {' | '.join(found['random']['hd95']['texts'])} |" in said
    assert "| inherit |" in said and "| 13/14, 13/14 | 0, 0 | 20, 20 |" in said
    fake.take_started()
    assert module.main(["--read", str(tmp_path / "o.json")]) == 0
    assert fake.started == [] and capsys.readouterr().out.strip() in said

    # A record of before HD95 was measured.
    old = json.loads((tmp_path / "o.json").read_text())
    for row in old["rows"]:
        del row["hd95"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert module.main(["--read", str(tmp_path / "old.json")]) == 0
    assert f"{found['random']['difference']:+.2f}" in capsys.readouterr().out


def test_without_the_plain_search_there_is_nothing_to_compare_with(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench[0].main(words(tmp_path, "inherit"))


def test_a_study_that_fails_ends_it(bench: Bench, tmp_path: Path) -> None:
    module, fake = bench
    fake.failing = {"pruned search, seed 0"}
    assert module.main(words(tmp_path)) == 1 and not (tmp_path / "o.json").exists()
