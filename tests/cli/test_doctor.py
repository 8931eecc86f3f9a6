from __future__ import annotations

from collections.abc import Iterator

import pytest

from nnunet_iac.cli import doctor
from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.doctor import installation
from nnunet_iac.nnunet.doctor.finding import Finding, Machine
from nnunet_iac.nnunet.doctor.paper_datasets import PAPER_DATASETS

FINE = Finding("a", True, "as it should be")
ADVICE = Finding("b", True, "works, but", "try this")
BROKEN = Finding("c", False, "broken", "mend it")


def with_findings(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    def check(_: Machine) -> Iterator[Finding]:
        yield from findings

    monkeypatch.setattr(installation, "check_installation", check)


def test_nothing_wrong_ends_with_status_zero(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with_findings(monkeypatch, FINE, ADVICE)

    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "ok     a: as it should be\n" in printed and "advice: try this\n" in printed and "WRONG" not in printed


def test_something_wrong_ends_with_status_one_and_the_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with_findings(monkeypatch, FINE, BROKEN)

    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "WRONG  c: broken\n       fix: mend it\n" in printed and "1 of the checks" in printed


@pytest.mark.parametrize("name", doctor.DATASETS)
def test_one_data_set_is_printed_alone(name: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor", "--datasets", name.lower()]) == 0

    printed = capsys.readouterr().out
    folders = [dataset.folder for dataset in PAPER_DATASETS.values() if dataset.folder in printed]
    assert folders == [PAPER_DATASETS[name].folder]


def test_without_a_name_all_four_are_printed(capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor", "--datasets"]) == 0

    printed = capsys.readouterr().out
    assert all(dataset.folder in printed for dataset in PAPER_DATASETS.values())


def test_an_unknown_data_set_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--datasets", "LiTS"])
    assert "ACDC, BraTS, KiTS, AMOS" in capsys.readouterr().err


def test_the_names_offered_are_those_described() -> None:
    assert doctor.DATASETS == tuple(PAPER_DATASETS)
