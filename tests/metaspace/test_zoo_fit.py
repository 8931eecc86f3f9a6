"""``nnunet-iac zoo fit`` prints the table and leaves a space in the zoo."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
from planted_world import planted_task
from planted_zoo import planted_zoo

from nnunet_iac.cli import zoo_fit
from nnunet_iac.metaspace import evaluation, zoo_tasks
from nnunet_iac.metaspace.space_entry import from_entry
from nnunet_iac.zoo.entries import Query


def run(zoo: Path | str, *words: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--zoo")
    zoo_fit.add_arguments(parser)
    return zoo_fit.run(parser.parse_args(["--zoo", str(zoo), *words]))


def test_it_prints_the_table_and_writes_the_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [planted_task(number, candidates=12, images=8) for number in range(3)]
    zoo = planted_zoo(tmp_path / "zoo", tasks)
    file = tmp_path / "fit.json"

    words = ("-c", "2d", "--steps", "3", "--size", "8", "--rank", "0.5", "--learning-rate", "0.01")
    assert run(tmp_path / "zoo", *words, "--ablation", "contrastive", "--json", str(file)) == 0

    out = capsys.readouterr().out
    assert "3 tasks of 3 data sets" in out and "| mean of 3 | contrastive loss only |" in out
    assert "| mean of 3 | same | 72 of 72 | meta-space |" in out, "what the others offer, as a retrieval orders it"
    (entry,) = zoo.entries(Query("meta-space"))
    space = from_entry(entry, zoo.read_weights(entry))
    assert (space.settings.rank, space.settings.size, space.settings.learning_rate) == (0.5, 8, 0.01)
    assert space.tasks == tuple(task.name for task in tasks) and entry.id in out
    assert json.loads(file.read_text()) == entry.facts["report"]


def test_nothing_is_written_if_there_are_too_few_data_sets(tmp_path: Path) -> None:
    zoo = planted_zoo(tmp_path / "zoo", [planted_task(number, candidates=12) for number in range(2)])

    with pytest.raises(ValueError, match="expected at least 3 data sets, got 2"):
        run(tmp_path / "zoo")
    assert not zoo.entries(Query("meta-space"))


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be read or computed."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it must be found before")

    for module, name in ((zoo_tasks, "read_tasks"), (evaluation, "evaluate")):
        monkeypatch.setattr(module, name, fail)


@pytest.mark.usefixtures("no_work")
def test_a_zoo_that_cannot_be_written_to_is_found_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = planted_zoo(tmp_path / "zoo", [planted_task(number, candidates=12) for number in range(3)])
    with pytest.raises(ValueError, match="expected a folder to write to"):
        run((tmp_path / "zoo").as_uri())
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "weights")
    with pytest.raises(PermissionError, match=r"--zoo: expected a zoo that can be written to, .* has \['weights'\]"):
        run(tmp_path / "zoo")
    assert not zoo.entries(Query("meta-space"))


@pytest.mark.usefixtures("no_work")
def test_no_zoo_is_made_for_a_mistyped_path(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        with pytest.raises(FileNotFoundError, match=f"zoo: expected .*{name}"):
            run(tmp_path / name)
    assert [*tmp_path.rglob("*")] == [tmp_path / "empty"]


def test_a_licence_is_kept_with_the_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = planted_zoo(tmp_path / "zoo", [planted_task(number, candidates=12, images=8) for number in range(3)])
    for words in (["--licence", "CC0-1.0"], []):
        assert run(tmp_path / "zoo", "--steps", "1", *words) == 0
        assert [entry.licence for entry in zoo.entries(Query("meta-space"))] == ["CC0-1.0"]
    with pytest.raises(SystemExit):
        run(tmp_path / "zoo", "--licence", " ")
    assert "--licence: expected words in one line, got ' '" in capsys.readouterr().err


def test_a_data_set_can_be_left_out_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [planted_task(number, candidates=12, images=8) for number in range(4)]
    zoo = planted_zoo(tmp_path / "zoo", tasks)

    assert run(tmp_path / "zoo", "--steps", "1", "--without", tasks[1].dataset) == 0

    (entry,) = zoo.entries(Query("meta-space"))
    assert entry.facts["datasets"] == [task.dataset for task in tasks if task is not tasks[1]]
    with pytest.raises(ValueError, match=r"--without: expected full names .*, got \['Dataset2'\]"):
        run(tmp_path / "zoo", "--without", "Dataset2")


def test_bad_settings_and_folders_are_found_before_the_zoo_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="settings: rank: expected a number from 0, got -1"):
        run(tmp_path / "none", "--rank", "-1")
    with pytest.raises(FileNotFoundError, match="--json"):
        run(tmp_path / "none", "--json", str(tmp_path / "nowhere" / "fit.json"))
