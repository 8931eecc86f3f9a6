from __future__ import annotations

import json

import pytest

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cli import report
from nnunet_iac.cli.main import main


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "Dataset001_Test" / "nnUNetTrainerIACIdentity__nnUNetPlans__2d"
    (folder / "fold_0").mkdir(parents=True)
    kwargs = {"genotype": Genotype.identity().to_dict()}
    architecture = {"network_class_name": "nnunet_iac.cells.network.CellUNet", "arch_kwargs": kwargs}
    (folder / "plans.json").write_text(json.dumps({"configurations": {"2d": {"architecture": architecture}}}))
    return folder


@pytest.fixture
def alone(monkeypatch):
    """Let the command line hold this command only: its neighbours are other tests' business."""
    monkeypatch.setattr("nnunet_iac.cli.main.COMMANDS", ("report",))


def test_it_says_where_the_report_is(model, alone, capsys):
    assert main(["report", str(model)]) == 0
    assert str(model / "report.html") in capsys.readouterr().out
    assert (model / "report.html").is_file() and (model / "report" / "genotype.png").is_file()


def test_output_and_fold_reach_the_report(model, alone, tmp_path):
    assert main(["report", str(model), "-o", str(tmp_path / "a.html"), "--fold", "0"]) == 0
    assert "fold 0" in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize("arguments", [["--fold", "3"], ["-o", "no_such_folder/a.html"]])
def test_what_cannot_be_done_is_told_and_ends_with_2(model, alone, arguments, capsys):
    assert main(["report", str(model), *arguments]) == 2
    assert "nnunet-iac report: --" in capsys.readouterr().err


def test_an_empty_folder_is_told_what_was_expected(tmp_path, alone, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "search.jsonl" in capsys.readouterr().err


def test_help_is_one_line():
    assert "\n" not in report.HELP
