"""`nnunet-iac select`: the choice, what the untrained network adds, and the probe that settles it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from nnunet_folders import Folders
from prediction_folders import write_dataset, write_model
from prepared_datasets import CASES, write_json, write_prepared

from nnunet_iac.cli import score as scoring
from nnunet_iac.cli.main import main
from nnunet_iac.nnunet.files.weights import build_network, read_weight_target, write_weights
from nnunet_iac.robustness.score import Score


@pytest.fixture
def files(folders: Folders, stock_plans: dict[str, Any]) -> list[str]:
    """Three checkpoints of a data set."""
    write_prepared(folders, stock_plans)
    write_json(folders.preprocessed / "splits_final.json", [{"train": CASES[:4], "val": CASES[4:]}])
    target, paths = read_weight_target("990", "2d"), [folders.base / f"{name}.pth" for name in "abc"]
    for seed, path in enumerate(paths):
        write_weights(path, build_network(target, seed), target, {})
    return [str(path) for path in paths]


def select(*words: str) -> int:
    return main(["select", *words, "-d", "990", "-c", "2d", "--images", "2"])


def scored(monkeypatch: pytest.MonkeyPatch, losses: dict[str, float]) -> None:
    """Let the encoders have these losses."""
    original = scoring.score_all

    def score_all(args: Any) -> Any:
        data, plan, found = original(args)
        return data, plan, {name: Score(losses[Path(name).stem], 2, 0) for name in found}

    monkeypatch.setattr(scoring, "score_all", score_all)


def test_the_most_robust_checkpoint_is_chosen(
    files: list[str], folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select(*files, "--json", str(folders.base / "choice.json")) == 0

    _, *rows, advice = capsys.readouterr().out.splitlines()
    record = json.loads((folders.base / "choice.json").read_text())
    losses = {name: score["loss"] for name, score in record["losses"].items()}
    assert [float(row.split()[0]) for row in rows] == sorted(round(loss, 4) for loss in losses.values())
    assert record["chosen"] == min(losses, key=losses.__getitem__) and f"{record['chosen']}  <- most robust" in rows[0]
    assert record["beats_initialisation"] is None and record["decision"] is None and "--probe" in advice


@pytest.mark.parametrize(("loss", "beats"), [(0.05, False), (0.3, True)])
def test_the_untrained_network_is_compared_and_never_chosen(
    files: list[str],
    folders: Folders,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    loss: float,
    beats: bool,
) -> None:
    scored(monkeypatch, {"a": 0.2, "b": 0.1, "c": loss})

    assert select(*files[:2], "--untrained", files[2], "--json", str(folders.base / "choice.json")) == 0

    out, record = capsys.readouterr().out, json.loads((folders.base / "choice.json").read_text())
    assert record["chosen"] == files[1] and record["beats_initialisation"] is beats
    assert f"{loss:.4f}  {files[2]}  (before pretraining)" in out and f"0.1000  {files[1]}  <- most robust" in out


def test_of_equal_ones_the_first_is_chosen(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(monkeypatch, {"a": 0.1, "b": 0.1, "c": 0.2})
    assert select(files[1], files[0]) == 0
    assert f"{files[1]}  <- most robust" in capsys.readouterr().out


@pytest.fixture
def probed(files: list[str], folders: Folders) -> tuple[Path, Path, Path]:
    """A good and a bad training of four patients, and one as good as the first."""
    shutil.rmtree(folders.preprocessed)
    write_dataset(folders)
    found = [write_model(folders, f"t{shift}", shift=shift) for shift in (0, 3)]
    return found[0], found[1], write_model(folders, "same", shift=0)


@pytest.mark.parametrize(("better", "start"), [(0, "no pretraining"), (1, "{chosen}")])
def test_a_probe_of_two_folders_settles_it(
    files: list[str],
    folders: Folders,
    stock_plans: dict[str, Any],
    probed: tuple[Path, Path, Path],
    capsys: pytest.CaptureFixture[str],
    better: int,
    start: str,
) -> None:
    prepared_again(folders, stock_plans)
    untrained, pretrained = probed[better], probed[1 - better]

    assert select(*files[:2], "--probe", str(untrained), str(pretrained), "--json", str(folders.base / "c.json")) == 0

    record, out = json.loads((folders.base / "c.json").read_text()), capsys.readouterr().out
    assert f"Start with: {start.format(chosen=record['chosen'])} (settled by probe; Dice of 4 patients" in out
    assert record["decision"]["settled_by"] == "probe" and "--probe" not in out
    assert (record["decision"]["start"] == "no pretraining") == (better == 0)


@pytest.mark.parametrize(
    ("untrained", "start", "settled", "words"),
    [
        (None, "pretrained", "default", "b.pth (the probe cannot tell, and without --untrained"),
        (0.3, "pretrained", "losses", "b.pth (the probe cannot tell, the losses do"),
        (0.05, "no pretraining", "losses", "no pretraining (the probe cannot tell, the losses do"),
    ],
)
def test_where_the_probe_cannot_tell_the_losses_do(
    files: list[str],
    folders: Folders,
    stock_plans: dict[str, Any],
    probed: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    untrained: float | None,
    start: str,
    settled: str,
    words: str,
) -> None:
    prepared_again(folders, stock_plans)
    scored(monkeypatch, {"a": 0.2, "b": 0.1, "c": untrained or 0.0})
    more = ["--untrained", files[2]] if untrained else []
    folder = str(folders.base / "c.json")

    assert select(*files[:2], *more, "--probe", str(probed[0]), str(probed[2]), "--json", folder) == 0

    decision = json.loads(Path(folder).read_text())["decision"]
    assert (decision["start"], decision["settled_by"]) == (start, settled)
    assert words in capsys.readouterr().out


def prepared_again(folders: Folders, plans: dict[str, Any]) -> None:
    """Both kinds of data in one data set: those of predictions and those of patches."""
    references = folders.preprocessed / "gt_segmentations"
    kept = references.rename(folders.base / "references")
    write_prepared(folders, plans, labels={"background": 0, "ring": 1, "core": 2})
    kept.rename(references)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["random"], "CHECKPOINT: expected a checkpoint of nnU-Net, random is no file"),
        (["{a}", "--untrained", "none.pth"], "CHECKPOINT: expected a checkpoint of nnU-Net, none.pth is no file"),
        (["{a}", "--untrained", "{a}"], "ENCODER: expected different ones"),
        (["{a}", "--probe", "nowhere", "elsewhere"], "expected a folder of a model, of a fold or of masks, found none"),
        (["{a}", "--json", "nowhere/c.json"], "--json: expected an existing folder, nowhere is none"),
    ],
)
def test_a_mistake_is_one_message(
    files: list[str], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert select(*(word.format(a=files[0]) for word in words)) == 2
    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac select: ") and message in error and "Traceback" not in error
