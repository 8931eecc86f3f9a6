"""The benchmarks of Dice, with trainings that are fakes: which budgets may meet in a table, and what it says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_trainings import FakeTrainings, fake_trainings
from nnunet_folders import Folders
from prediction_folders import CASES

SCRIPTS = str(Path(__file__).parents[1] / "scripts")
WORDS = ("-d", "990", "--seeds", "0", "1", "--arms")
SEARCHES = ("random", "short search")
FIRST = ["--budget", "search.epochs=90", "--batch-size", "4"]


@pytest.fixture
def bench(planned: Folders, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, FakeTrainings]:
    return fake_trainings(planned, monkeypatch, SCRIPTS)


Bench = tuple[ModuleType, FakeTrainings]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def row(text: str, start: str, part: str = "Dice") -> list[str]:
    """The cells of the row that starts so, in the tables of Dice, of HD95 or of classes."""
    dice, _, rest = text.partition("HD95 (")
    hd95, _, classes = rest.partition("| pair, by class |")
    text = {"Dice": dice, "HD95": hd95, "classes": classes}[part]
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def record(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


class TestBudgetsThatMayNotMeet:
    @pytest.mark.parametrize(
        ("words", "difference"),
        [
            (["--budget", "search.epochs=80", "--batch-size", "4"], "iac.search.epochs is 90 there, 80 here"),
            (["--budget", "search.epochs=90", "--batch-size", "6"], "batch_size is 4 there, 6 here"),
            (["--budget", "search.epochs=90"], "batch_size is 4 there, 12 here"),
            ([*FIRST, "--patch-size", "64", "64"], "patch_size is [32, 32] there, [64, 64] here"),
            ([*FIRST, "--short", "search.drift=1"], "iac.search.drift is 0.5 there, 1 here"),
            ([*FIRST, "--host", "scratch"], "derived_from is 'nnUNetPlans_bench_seed0' there, 'nnUNetPlans' here"),
        ],
    )
    def test_another_one_under_the_same_tag_is_refused(
        self, bench: Bench, planned: Folders, capsys: pytest.CaptureFixture[str], words: list[str], difference: str
    ) -> None:
        module, fake = bench
        assert module.main([*WORDS, *SEARCHES, *FIRST]) == 0
        plans, _ = files(planned.preprocessed), (fake.take_started(), capsys.readouterr())

        assert module.main([*WORDS, *SEARCHES, *words]) == 2

        said = capsys.readouterr()
        assert difference in said.err and "another --tag" in said.err and "| arm |" not in said.out
        assert fake.started == [] and files(planned.preprocessed) == plans
        fake.failing = {"random, seed 0"}  # it is started, that is enough
        assert module.main([*WORDS, *SEARCHES, *words, "--tag", "other"]) == 1 and fake.started

    def test_a_study_on_trained_hosts_does_not_take_the_plans_of_one_from_scratch(
        self, bench: Bench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        module, fake = bench
        assert module.main([*WORDS, "random", "--host", "scratch", *FIRST]) == 0
        fake.take_started()

        assert module.main([*WORDS, "random", "--budget", "host.epochs=60"]) == 2
        assert "iac.host.epochs is 15 there, 60 here" in capsys.readouterr().err and fake.started == []

    def test_nothing_is_written_before_everything_is_checked(self, bench: Bench, planned: Folders) -> None:
        module, _ = bench
        assert module.main(["-d", "990", "--seeds", "1", "--arms", "random"]) == 0
        plans = files(planned.preprocessed)

        assert module.main(["-d", "990", "--seeds", "0", "1", "--arms", "random", "--batch-size", "4"]) == 2
        assert files(planned.preprocessed) == plans

    def test_bad_settings_and_missing_plans_are_refused_in_one_line(
        self, bench: Bench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        module, fake = bench
        for words in (["--budget", "search.epoch=3"], ["-p", "nnUNetNoPlans"], ["--hosts", "nobody"]):
            assert module.main([*WORDS, "random", *words]) == 2
            assert len(capsys.readouterr().err.splitlines()) == 1 and fake.started == []


class TestGoingOn:
    def test_the_same_command_runs_what_is_not_done(
        self, bench: Bench, planned: Folders, capsys: pytest.CaptureFixture[str]
    ) -> None:
        module, fake = bench
        fake.failing = {"short search, seed 1"}
        assert module.main([*WORDS, *SEARCHES, *FIRST]) == 1
        assert len(fake.take_started()) == 2 + 2 * len(SEARCHES) and "| arm |" not in capsys.readouterr().out
        plans, fake.failing = files(planned.preprocessed), set()

        assert module.main([*WORDS, *SEARCHES, *FIRST]) == 0
        assert fake.take_started() == ["short search, seed 1"] and "| arm |" in capsys.readouterr().out
        assert module.main([*WORDS, *SEARCHES, *FIRST]) == 0
        assert fake.started == [] and files(planned.preprocessed) == plans

    @pytest.mark.parametrize("name", ["host, seed 1", "random, seed 0"])
    def test_what_another_process_runs_is_waited_for_by_the_user(
        self, bench: Bench, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        module, fake = bench
        fake.elsewhere = {name}
        assert module.main([*WORDS, *SEARCHES, *FIRST]) == 1
        said = capsys.readouterr()
        assert f"not finished by the other process: {name}. Repeat" in said.err and "| arm |" not in said.out
        # Without its host no arm of a seed can start.
        assert ("random, seed 1" in fake.started) is (name == "random, seed 0")

        fake.elsewhere = set()
        assert module.main([*WORDS, *SEARCHES, *FIRST]) == 0 and "| arm |" in capsys.readouterr().out

    def test_another_arm_and_another_seed_join_in(self, bench: Bench) -> None:
        module, fake = bench
        assert module.main([*WORDS, "random", *FIRST]) == 0
        fake.take_started()

        assert module.main(["-d", "990", "--seeds", "0", "1", "2", "--arms", "random", "short search", *FIRST]) == 0
        assert fake.started == ["host, seed 2", *(f"short search, seed {s}" for s in range(3)), "random, seed 2"]

    def test_short_searches_of_other_settings_do_not_matter_where_there_are_none(self, bench: Bench) -> None:
        module, _ = bench
        assert module.main([*WORDS, "random", *FIRST]) == 0
        assert module.main([*WORDS, "random", *FIRST, "--short", "search.drift=1"]) == 0


class TestHostsOfAnEarlierStudy:
    def test_the_record_says_how_they_were_trained(self, bench: Bench, tmp_path: Path) -> None:
        module, fake = bench
        first = ["--tag", "first", "--budget", "host.epochs=60", "training.augment=false"]
        assert module.main([*WORDS, "random", *first]) == 0
        fake.take_started()

        assert module.main([*WORDS, "random", "--hosts", "first", "--json", str(tmp_path / "dice.json")]) == 0

        assert fake.started == ["random, seed 0", "random, seed 1"]
        budget = record(tmp_path / "dice.json")["study"]["budget"]
        assert [word for word in budget if word.startswith("host.")] == ["host.epochs=60", "host.iterations=20"]
        # The arms' plans derive from the hosts', and have their settings where this study says nothing.
        assert "training.augment=false" in budget and "training.epochs=20" in budget
        assert not any(word.startswith("search.seed=") for word in budget)

    def test_settings_that_it_hands_on_are_said(self, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        """A study on hosts of one with frozen ones trained frozen ones too, and nothing said so."""
        module, _ = bench
        assert module.main([*WORDS, "random", "--tag", "first", "--budget", "training.freeze_host=true"]) == 0
        said = "Taken from the plans of the hosts, as --budget does not set it: training.freeze_host=true\n"
        assert said not in capsys.readouterr().out
        assert module.main([*WORDS, "random", "--hosts", "first"]) == 0
        assert said in capsys.readouterr().out
        other = ["--hosts", "first", "--tag", "other", "--budget", "training.freeze_host=false"]
        assert module.main([*WORDS, "random", *other]) == 0
        assert "Taken from" not in capsys.readouterr().out

    def test_hosts_of_two_budgets_are_refused(self, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        module, _ = bench
        for seed, epochs in ((0, 60), (1, 30)):
            words = ["--tag", "first", "--budget", f"host.epochs={epochs}"]
            assert module.main(["-d", "990", "--seeds", str(seed), "--arms", "random", *words]) == 0

        assert module.main([*WORDS, "random", "--hosts", "first"]) == 2
        assert "--hosts: expected hosts of one budget" in capsys.readouterr().err

    def test_a_study_from_scratch_has_none(self, bench: Bench) -> None:
        with pytest.raises(SystemExit, match="2"):
            bench[0].main([*WORDS, "random", "--host", "scratch", "--hosts", "first"])


def test_the_record_of_a_study_with_its_own_hosts_has_its_budget(bench: Bench, tmp_path: Path) -> None:
    words = ["--budget", "host.epochs=60", "--json", str(tmp_path / "dice.json")]
    assert bench[0].main([*WORDS, "random", *words]) == 0

    found = record(tmp_path / "dice.json")
    assert [word for word in found["study"]["budget"] if "epochs" in word] == [
        *("host.epochs=60", "search.epochs=200", "search.warmup_epochs=10", "training.epochs=20")
    ]
    assert found["patients"] == ["p0", "p1", "p2", "p3"] and set(found["against_control"]) == {"random"}


PAIRED = ("identity", "random", "full search", "pruned search", "short search")


class TestTables:
    def test_a_difference_that_scatters_from_seed_to_seed_is_not_inside_the_margin(
        self, bench: Bench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        module, fake = bench
        # Two seeds of the full search are as far above the random cells as below them; nothing differs by patient.
        fake.shift = lambda arm, seed: 2 * seed if arm == "full search" else 1
        words = ["--arms", "identity", "random", "full search", "pruned search", "--margin", "5"]

        assert module.main(["-d", "990", "--seeds", "0", "1", *words]) == 0

        said = capsys.readouterr().out
        difference, with_runs, _, inside = row(said, "full search minus random")[1:]
        low, high = (float(end) for end in difference.partition(" ")[2].strip("[]").split(", "))
        assert -5 < low <= high < 5 and with_runs.startswith("[-") and inside == "no"
        assert row(said, "pruned search minus random")[1:] == ["+0.00 [+0.00, +0.00]", "[+0.00, +0.00]", "1.000", "yes"]
        assert "| inside 5 points (both CIs) |" in said and "| inside 1 mm (both CIs) |" in said

    @pytest.mark.parametrize(("shift", "inside"), [(1, "yes"), (0, "no")])
    def test_of_one_seed_the_patients_alone_are_asked(
        self, bench: Bench, capsys: pytest.CaptureFixture[str], shift: int, inside: str
    ) -> None:
        module, fake = bench
        fake.shift = lambda arm, seed: shift if arm == "full search" else 1

        assert module.main(["-d", "990", "--seeds", "0", "--arms", "random", "full search", "--margin", "5"]) == 0

        cells = row(capsys.readouterr().out, "full search minus random")
        assert (cells[2], cells[-1]) == ("one run", f"{inside}, trainings not counted")

    def test_arms_are_compared_with_the_control_and_searches_with_the_full_one(
        self, bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        module, fake = bench
        fake.shift = lambda arm, seed: {"host": 3, "identity": 2, "random": 2}.get(arm, 0)
        assert module.main([*WORDS, *PAIRED, "--json", str(tmp_path / "dice.json")]) == 0

        said, found = capsys.readouterr().out, record(tmp_path / "dice.json")
        assert "4 patients" in said and row(said, "random")[3] == "+0.00 [+0.00, +0.00]"
        gain = found["against_control"]["full search"]["difference"]
        assert gain > 5 and row(said, "full search")[3].startswith(f"+{gain:.2f} [")
        assert row(said, "full search")[1] == "100.00, 100.00" and found["against_control"]["host"]["difference"] < -5
        assert row(said, "full search")[-2:] == ["160 (13/14 decided), 160 (13/14 decided)", "80, 80"]
        assert "The short search was 16.0, 16.0 times cheaper" in said and "pruned search was 4.0, 4.0 times" in said
        assert set(found["pairs"]) == {" minus ".join(pair) for pair in module.PAIRS}
        assert found["search"]["short search"][1] == {
            **{"seed": 1, "fold": 0, "status": "decided", "epochs": 10, "seconds": 5, "decided_edges": 13, "edges": 14},
            "operations": {},
        }

    def test_searches_of_a_seed_are_compared_whichever_folds_they_ran_in(
        self, bench: Bench, planned: Folders, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # Found on Dataset501: the fold that starts first searches, and that differs from arm to arm.
        module, fake = bench
        fake.cases = {0: CASES[:2], 1: CASES[2:]}
        words = ["-d", "990", "--seeds", "0", "-f", "0", "1", "--arms", "full search", "short search"]
        assert module.main(words) == 0
        capsys.readouterr()
        (found,) = planned.results.parent.glob("*/nnUNetTrainerIACImplantFullSearch*/fold_0/search_result.json")
        found.rename(found.parents[1] / "fold_1" / found.name)

        assert module.main(words) == 0

        assert "The short search was 16.0 times cheaper than the full one (by seed" in capsys.readouterr().out

    def test_hd95_and_every_class_stand_beside_the_dice(
        self, bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        module, fake = bench
        fake.shift = lambda arm, seed: {"full search": 0, "short search": 2}.get(arm, 1)
        words = ["--arms", "full search", "short search", "--json", str(tmp_path / "dice.json")]
        assert module.main(["-d", "990", "--seeds", "0", "1", *words]) == 0

        said, found = capsys.readouterr().out, record(tmp_path / "dice.json")
        pair = "short search minus full search"
        figures = found["hd95"]["pairs"][pair]
        # Masks that are further off have a larger distance: the loss has the other sign than that of Dice.
        assert figures["difference"] > 1 and found["pairs"][pair]["difference"] < -5 and not figures["non_inferior"]
        assert row(said, pair, "HD95")[1].startswith(f"+{figures['difference']:.2f} [")
        assert row(said, "full search", "HD95")[1:3] == ["0.00, 0.00", "0.00"]
        assert found["hd95"]["by_seed"]["full search"] == [0, 0] and found["hd95"]["unit"] in said
        assert row(said, "host", "HD95")[3:] == ["", "", ""]  # the control has nothing to be compared with

        by_class = found["pairs_by_class"][pair]
        lines = [line for line in said.splitlines() if line.startswith(f"| {pair} |")]
        assert len(by_class) > 1 and len(lines) == 2 + len(by_class)
        for name, line in zip(by_class, lines[2:], strict=True):
            cells = [cell.strip() for cell in line.split("|")[2:-1]]
            assert cells[0] == name
            assert cells[1].startswith(f"{by_class[name]['dice']['difference']:+.2f} [")
            assert cells[4].startswith(f"{by_class[name]['hd95']['difference']:+.2f} [")

    def test_the_benchmark_of_searches_is_this_one_with_arms_that_search(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        _, fake = bench
        search = importlib.import_module("bench_search")

        assert search.main(["-d", "990", "--seeds", "0"]) == 0

        assert set(fake.started) == {f"{arm}, seed 0" for arm in ("host", *PAIRED)}
        assert "The short search was 16.0 times cheaper" in capsys.readouterr().out

    def test_folds_are_trained_one_by_one_and_their_patients_counted_together(
        self, bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        module, fake = bench
        fake.cases = {0: CASES[:2], 1: CASES[2:4], 2: CASES[4:]}
        words = ["-f", "0", "1", "2", "--arms", "random", "full search", "short search"]
        assert module.main(["-d", "990", "--seeds", "0", *words, "--json", str(tmp_path / "dice.json")]) == 0

        said, found = capsys.readouterr().out, record(tmp_path / "dice.json")
        assert fake.started[:3] == ["host, seed 0, fold 0", "host, seed 0, fold 1", "host, seed 0, fold 2"]
        assert "4 patients" in said and len(row(said, "full search")[1].split(", ")) == 1
        # One run, but three folds: the scatter of trainings is known, and asked.
        assert row(said, "short search minus full search")[2] == "[+0.00, +0.00]"
        assert row(said, "short search minus full search")[-1] == "yes"
        assert found["study"]["folds"] == [0, 1, 2]
        # The other folds have the cells that the first one found.
        assert [one["fold"] for one in found["search"]["short search"]] == [0]
        assert "The short search was 16.0 times cheaper" in said

        # A fold alone afterwards: nothing is trained again, and only its patients count.
        fake.take_started()
        assert module.main(["-d", "990", "--seeds", "0", "-f", "2", *words[4:]]) == 0
        assert fake.started == [] and "2 patients" in capsys.readouterr().out
