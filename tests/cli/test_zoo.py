"""`nnunet-iac zoo`: from a fold's folder to a checkpoint, and mistakes in one message."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import DATASET, Folders

from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.weights import build_network, read_weight_target, write_weights
from nnunet_iac.nnunet.zoo_entries import zoo_import
from nnunet_iac.zoo.entry import Description
from nnunet_iac.zoo.store import Zoo

DATASET_JSON = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "RV": 1}}


@pytest.fixture
def fold(folders: Folders, stock_plans: dict[str, Any]) -> Path:
    folder = folders.preprocessed
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans))
    target = read_weight_target(DATASET, "2d")
    fold = folders.results / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0"
    fold.mkdir(parents=True)
    write_weights(fold / "checkpoint_final.pth", build_network(target), target, {})
    return fold


@pytest.fixture
def zoo(fold: Path, folders: Folders, capsys: pytest.CaptureFixture[str]) -> str:
    """A zoo with the fold; what adding printed is dropped."""
    assert main(["zoo", "add", str(fold), "--zoo", f"{folders.base}/zoo", "--licence", "CC0-1.0"]) == 0
    capsys.readouterr()
    return f"{folders.base}/zoo"


def weights(zoo: str) -> Path:
    return next((Path(zoo) / "weights").iterdir())


def test_a_fold_is_added_listed_shown_and_extracted(
    fold: Path, folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--zoo", f"{folders.base}/zoo"]
    assert main(["zoo", "add", str(fold.parent), *where, "--licence", "CC0-1.0", "--name", "mine"]) == 0
    identity = capsys.readouterr().out.split()[0]

    assert main(["zoo", "list", *where, "-d", "990", "--dimensions", "2", "--channels", "1"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert line.split() == [identity, "network", "mine", "2D", "MRI", "2", "32x32", line.split()[7], "-", "CC0-1.0"]
    assert head.index("axes") == line.index("2D")

    assert main(["zoo", "show", identity[:6], *where]) == 0
    shown = [line.split("  ", 1) for line in capsys.readouterr().out.splitlines()]
    assert ["labels", "background, RV"] in [[part.strip() for part in parts] for parts in shown]
    assert main(["zoo", "extract", identity, "-o", f"{folders.base}/start.pth", *where, "-d", DATASET]) == 0
    assert "-pretrained_weights" in capsys.readouterr().out
    paths = (folders.base / "start.pth", fold / "checkpoint_final.pth")
    found, expected = (torch.load(path, weights_only=False) for path in paths)
    assert all(torch.equal(found["network_weights"][k], v) for k, v in expected["network_weights"].items())


def test_extracting_a_search_says_that_its_cells_are_left_out(
    zoo: str, folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    (entry,) = Zoo(zoo).entries()
    about = {field.name: getattr(entry, field.name) for field in fields(Description)}
    tensors = {**Zoo(zoo).read_weights(entry), "cells.alpha": torch.ones(1), "cells.beta": torch.ones(1)}
    search = Zoo(zoo).add(Description(**{**about, "kind": "search supernet"}), tensors).entry

    for identity, is_said in ((search.id, True), (entry.id, False)):
        assert main(["zoo", "extract", identity, "-o", f"{folders.base}/{identity}.pth", "--zoo", zoo]) == 0
        assert ("host only: 2 tensors of cells are left out" in capsys.readouterr().out) is is_said


def test_json_has_everything(zoo: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = Zoo(zoo).entries()[0]
    for words, expected in (
        (["list", "--json"], [entry.to_dict()]),
        (["show", entry.id, "--json"], entry.to_dict()),
        (["verify", "--json"], {"schema": 1, "is_fine": True, "entries": 1, "files": 1, "findings": []}),
    ):
        assert main(["zoo", *words, "--zoo", zoo]) == 0
        assert json.loads(capsys.readouterr().out) == expected


def test_verify_names_a_flipped_bit_and_its_status_is_1(zoo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "verify", "--zoo", zoo]) == 0
    content = bytearray(weights(zoo).read_bytes())
    content[-1] ^= 1
    weights(zoo).write_bytes(bytes(content))
    capsys.readouterr()

    assert main(["zoo", "verify", "--repair", "--zoo", zoo]) == 1
    out = capsys.readouterr().out
    assert f"corrupt weights: weights/{weights(zoo).name}" in out and "1 fault(s)" in out
    assert main(["zoo", "extract", Zoo(zoo).entries()[0].id, "-o", f"{zoo}.pth", "--zoo", zoo]) == 2
    assert "tampered" in capsys.readouterr().err and not Path(f"{zoo}.pth").exists()


@pytest.mark.parametrize("name", ["out.zip", "out.tar.gz", "out"])
def test_export_import_and_remove(zoo: str, folders: Folders, capsys: pytest.CaptureFixture[str], name: str) -> None:
    entry, out = Zoo(zoo).entries()[0], f"{folders.base}/{name}"

    assert main(["zoo", "export", "-o", out, "--zoo", zoo]) == 0
    assert main(["zoo", "remove", entry.id, "--zoo", zoo]) == 0
    assert Zoo(zoo).entries() == [] and list((Path(zoo) / "weights").iterdir()) == []
    assert main(["zoo", "import", out, "--zoo", zoo]) == 0
    assert Zoo(zoo).entries() == [entry]
    assert main(["zoo", "import", out, "--zoo", zoo]) == 0
    assert "is there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", ["import {zoo} --zoo {base}/other", "export --zoo {zoo} -o {base}/other"], ids=lambda words: words[:6]
)
def test_one_bad_entry_is_listed_and_the_others_are_told_and_copied(
    zoo: str, folders: Folders, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    (entry,) = Zoo(zoo).entries()
    about = {field.name: getattr(entry, field.name) for field in fields(Description)}
    bad = Zoo(zoo).add(Description(**{**about, "name": "a bad one", "trainer": "Other"}), {"w": torch.ones(1)}).entry
    (Path(zoo) / "weights" / f"{bad.weights}.safetensors").write_bytes(b"x")

    assert main(["zoo", *words.format(zoo=zoo, base=folders.base).split()]) == 2

    told = capsys.readouterr()
    assert f"1 could not be copied, the other 1 are in {folders.base}/other:\n{bad.id} (a bad one): weights" in told.err
    assert told.out == f"{entry.id}  {entry.name}\n" and Zoo(f"{folders.base}/other").entries() == [entry]


def test_export_says_that_a_licence_is_missing(
    fold: Path, folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo = f"{folders.base}/zoo"
    main(["zoo", "add", str(fold), "--zoo", zoo])
    for words, warned in ((["--replace"], True), (["--replace", "--licence", "CC0-1.0"], False)):
        assert main(["zoo", "add", str(fold), "--zoo", zoo, *words]) == 0
        assert main(["zoo", "export", "-o", f"{folders.base}/out", "--zoo", zoo]) == 0
        assert ("WARNING: nobody said under which licence" in capsys.readouterr().err) is warned


def test_adding_again_with_replace_keeps_the_licence_and_the_name_that_were_given(zoo: str, fold: Path) -> None:
    add = ["zoo", "add", str(fold), "--zoo", zoo, "--replace"]
    assert main([*add, "--name", "mine"]) == 0
    assert main(add) == 0

    (entry,) = Zoo(zoo).entries()
    assert (entry.name, entry.licence) == ("mine", "CC0-1.0")


def test_the_warning_about_licences_names_a_command_that_can_say_them(
    zoo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (entry,) = Zoo(zoo).entries()
    remedies = {
        ("network", "any"): "zoo add FOLDER --licence TEXT --replace",
        ("search supernet", "any"): "zoo add FOLDER --searches --licence TEXT --replace",
        ("supernet", "any"): "zoo build or zoo build-all command",
        ("subnetworks", "any"): "zoo build or zoo build-all command",
        ("dataset features", "nnunet-iac zoo build"): "zoo build or zoo build-all command",
        ("dataset features", "nnunet-iac"): "zoo add FOLDER --searches --licence TEXT --replace",
        ("meta-space", "any"): "zoo fit --licence TEXT",
    }
    for number, ((kind, trainer), remedy) in enumerate(remedies.items()):
        about = {field.name: getattr(entry, field.name) for field in fields(Description)}
        other = Zoo.create(tmp_path / f"zoo{number}")
        other.add(Description(**{**about, "kind": kind, "trainer": trainer, "licence": None}), {"w": torch.ones(1)})

        assert main(["zoo", "export", "-o", f"{tmp_path}/out{number}", "--zoo", f"{tmp_path}/zoo{number}"]) == 0
        error = capsys.readouterr().err
        assert remedy in error and [r for r in set(remedies.values()) if r in error] == [remedy]


def test_an_empty_zoo_and_a_filter_that_nothing_meets_are_said(zoo: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["zoo", "list", "--zoo", zoo, "--dimensions", "3"])
    main(["zoo", "remove", Zoo(zoo).entries()[0].id, "--zoo", zoo])
    main(["zoo", "list", "--zoo", zoo])

    out = capsys.readouterr().out
    assert "no entry fits" in out and "the zoo is empty: nnunet-iac zoo add FOLDER" in out


def test_what_is_wrong_with_one_fold_does_not_stop_the_others(
    fold: Path, folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = fold.with_name("fold_1")
    bad.mkdir()
    (bad / "checkpoint_final.pth").write_bytes(b"x")

    assert main(["zoo", "add", str(bad), str(fold), "--zoo", f"{folders.base}/zoo"]) == 2

    assert "1 of 2 were not added:" in capsys.readouterr().err
    assert len(Zoo(f"{folders.base}/zoo").entries()) == 1


@pytest.mark.parametrize("error", [ValueError, TypeError, OSError, NotImplementedError])
def test_whatever_is_wrong_with_one_fold_is_listed_and_the_others_are_added(
    fold: Path,
    folders: Folders,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    bad = fold.with_name("fold_1")
    shutil.copytree(fold, bad)
    read = zoo_import.read_fold

    def fail(folder: Path, **named: Any) -> Any:
        if folder == bad:
            raise error("because")
        return read(folder, **named)

    monkeypatch.setattr(zoo_import, "read_fold", fail)

    assert main(["zoo", "add", str(bad), str(fold), "--zoo", f"{folders.base}/zoo"]) == 2

    assert f"1 of 2 were not added:\n{bad}: because" in capsys.readouterr().err
    assert len(Zoo(f"{folders.base}/zoo").entries()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("add {base}/none --zoo {base}/new", "FOLDER: expected a folder of results"),
        ("add {base}/raw --zoo {base}/new", "expected checkpoint_final.pth or checkpoint_best.pth"),
        ("add {fold} --zoo {base}/raw", "expected a zoo or an empty folder"),
        ("add {fold} --zoo memory://new", "expected a folder to write to"),
        ("list --zoo {base}/new", "there is no such folder"),
        ("show zzz --zoo {zoo}", "id: expected the start of one entry's id, 'zzz' is that of 0"),
        ("import {base}/none.zip --zoo {base}/new", "there is no such folder"),
        ("extract {id} -o start.pt --zoo {zoo}", "-o: expected a file name that ends in .pth"),
        ("extract {id} -o nowhere/start.pth --zoo {zoo}", "-o: expected an existing folder"),
        ("extract {id} -o {base}/folder.pth --overwrite --zoo {zoo}", "-o: expected a file to write"),
        ("extract {id} -o {base}/start.pth -d 990 -c 3d_lowres --zoo {zoo}", "configuration: expected one of"),
        ("verify --zoo {base}/new", "there is no such folder"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    zoo: str, fold: Path, folders: Folders, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    (folders.base / "folder.pth").mkdir()
    before = sorted(folders.base.rglob("*"))
    known = {"zoo": zoo, "base": folders.base, "fold": fold, "id": Zoo(zoo).entries()[0].id}

    assert main(["zoo", *words.format(**known).split()]) == 2

    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac zoo: ") and message in error and "Traceback" not in error
    assert sorted(folders.base.rglob("*")) == before
