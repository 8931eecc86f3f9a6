"""`nnunet-iac retrieve` on the tiny data set and a zoo of tiny supernets: choice, limits, outliers, interruption."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nnunet_folders import DATASET, Folders
from tiny_dataset import Killed, configure, equal, train
from tiny_sources import fill, move_away

from nnunet_iac.cli.main import main
from nnunet_iac.metaspace.fitting import fit
from nnunet_iac.metaspace.ranking import Ranked
from nnunet_iac.metaspace.relatives import find_nearness
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.space_entry import to_entry
from nnunet_iac.metaspace.zoo_tasks import read_tasks
from nnunet_iac.nnunet.cases.dataset_features import region_features
from nnunet_iac.nnunet.cases.image_samples import PreparedData, prepared_data
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.model_folder import RECORD
from nnunet_iac.nnunet.files.plans import configuration_of, read_plans
from nnunet_iac.nnunet.files.run_state import alone_in
from nnunet_iac.nnunet.retrieval import candidate_looks, retrieval
from nnunet_iac.nnunet.retrieval.candidate_training import LEARNED, CandidateTrainer, CandidateTraining
from nnunet_iac.nnunet.retrieval.retrieval import choose
from nnunet_iac.nnunet.retrieval.retrieval_request import PROTOCOLS, Request
from nnunet_iac.nnunet.retrieval.retrieval_target import retrieval_target
from nnunet_iac.nnunet.retrieval.retrieval_trainings import TRAININGS
from nnunet_iac.nnunet.retrieval.retrieved_start import is_retrieved
from nnunet_iac.nnunet.retrieval.retrieved_trainer import START, retrieval_folder
from nnunet_iac.zoo.candidates_entries import SUPERNET
from nnunet_iac.zoo.costs import Costs
from nnunet_iac.zoo.entry import Description
from nnunet_iac.zoo.store import Zoo

SHORT = "--patches 8 --iterations 1 --share 0.5 --device cpu".split()


@pytest.fixture
def dataset(tiny: Folders, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """The tiny data set with three untrained supernets that were scored by chance, and itself, in a zoo."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda *_: SimpleNamespace(Pool=ThreadPool))
    fill(tiny, Zoo.create(tiny.base / "zoo"))
    return tiny


def retrieve(folders: Folders, *words: str) -> int:
    return main(["retrieve", "-d", "990", "-c", "2d", "-p", "tiny", "--zoo", str(folders.base / "zoo"), *SHORT, *words])


def folder_of(folders: Folders, name: str = "tiny_retrieved", configuration: str = "2d") -> Path:
    return retrieval_folder(folders.results.parent, DATASET, name, configuration)


def record_of(folders: Folders, configuration: str = "2d") -> dict[str, Any]:
    return dict(json.loads((folder_of(folders, configuration=configuration) / RECORD).read_text()))


def residual(plan: dict[str, Any]) -> None:
    """The plan with nnU-Net's residual encoder."""
    architecture = plan["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    arguments = architecture["arch_kwargs"]
    arguments["n_blocks_per_stage"] = arguments.pop("n_conv_per_stage")
    arguments["features_per_stage"] = [16, 32, 64]  # no two stages of equal width in the smallest network


def deep(plan: dict[str, Any]) -> None:
    """The plan in 3D."""
    plan.update(patch_size=[8, 16, 16], spacing=[1.0, 1.0, 1.0])
    plan["architecture"]["arch_kwargs"].update(
        conv_op="torch.nn.modules.conv.Conv3d",
        norm_op="torch.nn.modules.instancenorm.InstanceNorm3d",
        kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    )


def test_the_nearest_is_written_and_trained(dataset: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    assert retrieve(dataset, "--protocol", "T1") == 0

    out, record = capsys.readouterr().out, record_of(dataset)
    assert "left out: Dataset990_Tiny 2d is the target itself" in out
    assert "Dataset001_Source is the nearest of 3 data sets" in out and record["nearest"] == "Dataset001_Source"
    assert "train with nnUNetv2_train 990 2d FOLD -p tiny_retrieved -tr nnUNetTrainerMedNNS" in out
    assert [c["place"] for c in record["candidates"]] == [1] and record["chosen"] == 1
    plans = read_plans(dataset.preprocessed / "tiny_retrieved.json")
    assert plans["derived_from"] == "tiny"
    start = read_checkpoint(folder_of(dataset) / START)
    assert start["init_args"]["plans"] == plans
    trainer = train("nnUNetTrainerMedNNS", plans="tiny_retrieved")
    assert (
        trainer.cell_network.encoder.output_channels
        == configuration_of(plans, "2d")["architecture"]["arch_kwargs"]["features_per_stage"]
    )


def test_one_candidate_where_several_were_to_be_asked_about_is_taken_with_a_warning(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retrieve(dataset, "--protocol", "T5", "--most", "1") == 0

    warning = "T5 asks for 5 candidates, 1 could be had: it is taken without asking the target"
    record = record_of(dataset)
    assert f"WARNING: {warning}" in capsys.readouterr().out
    assert record["undecided"] == warning and warning in record["why"] and len(record["candidates"]) == 1


def test_of_several_the_best_after_an_epoch_is_kept_and_nothing_is_trained_twice(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retrieve(dataset, "--protocol", "T5") == 0

    record = record_of(dataset)
    dice = {c["place"]: c["dice_after_an_epoch"] for c in record["candidates"]}
    assert len(dice) == 5
    decided = max(dice.values()) >= LEARNED
    assert dice[record["chosen"]] == max(dice.values()) if decided else record["chosen"] == 1
    assert decided or ("no candidate has learned to segment" in record["why"] and record["undecided"] in record["why"])
    chosen = folder_of(dataset) / f"candidate_{record['chosen']}.pth"
    assert equal(*(dict(read_checkpoint(p)["network_weights"]) for p in (chosen, folder_of(dataset) / START)))
    assert "retrieved" not in json.dumps([p.name for p in dataset.results.iterdir() if p != folder_of(dataset)])

    # Killed before the plans were written: the same command finds all trainings done.
    (dataset.preprocessed / "tiny_retrieved.json").unlink()
    monkeypatch.setattr(CandidateTrainer, "run_training", None)
    assert retrieve(dataset, "--protocol", "T5") == 0
    again = record_of(dataset)
    for one in (*record["candidates"], *again["candidates"]):
        one["costs"].pop("latency_ms")
    assert again == record


@pytest.mark.parametrize("change", [(residual,), (deep,), (deep, residual)], ids=["residual", "3D", "3D residual"])
def test_residual_networks_and_3d_come_to_the_target_too(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, change: Sequence[Callable[[dict[str, Any]], None]]
) -> None:
    monkeypatch.setattr(multiprocessing, "get_context", lambda *_: SimpleNamespace(Pool=ThreadPool))
    path = tiny.preprocessed / "tiny.json"
    plans = json.loads(path.read_text())
    name = "3d_fullres" if deep in change else "2d"
    plans["configurations"][name] = plans["configurations"]["2d"]  # nnU-Net's slices are stored as volumes
    for one in change:
        one(plans["configurations"][name])
    path.write_text(json.dumps(plans))
    fill(tiny, Zoo.create(tiny.base / "zoo"), name)

    assert retrieve(tiny, "-c", name, "--protocol", "T5") == 0

    record = record_of(tiny, name)
    assert all(c["failed"] is None and c["dice_after_an_epoch"] is not None for c in record["candidates"])
    found = configuration_of(read_plans(tiny.preprocessed / "tiny_retrieved.json"), name)["architecture"]
    assert found["network_class_name"] == plans["configurations"][name]["architecture"]["network_class_name"]
    start = read_checkpoint(folder_of(tiny, configuration=name) / START)
    assert {value.ndim for key, value in start["network_weights"].items() if key.endswith("conv.weight")} == {
        2 + len(plans["configurations"][name]["patch_size"])
    }


@pytest.mark.parametrize(("floor", "protocol"), [(0.0, "T1"), (1.0, "T1"), (1.0, "T5")])
def test_a_candidate_that_learned_little_at_home_is_said(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], floor: float, protocol: str
) -> None:
    # With the README's zoo T1 took a network for Dataset501 that reaches 0.29 on its own data set, without a word.
    monkeypatch.setattr(retrieval, "WEAK", floor)

    # One look alone: whoever asked for five got one, and is not told to ask for five.
    assert retrieve(dataset, "--protocol", protocol, "--most", "1") == 0

    out, (one,) = capsys.readouterr().out, record_of(dataset)["candidates"]
    zoo = Zoo(dataset.base / "zoo")
    (task,) = [task for task in read_tasks(zoo) if task.candidates.supernet == one["supernet"]]
    assert one["own_dice"] == task.candidates.dice[int(one["candidate"].split()[-1])]
    assert f"{one['candidate']}: Dice {one['own_dice']:.2f} at home, similarity" in out
    weak = f"WARNING: with these weights {one['candidate']} reaches a Dice of {one['own_dice']:.2f} on its own data set"
    assert (weak in out) is (floor == 1.0)
    assert ("to ask the target too, --protocol T5" in out) is (floor == 1.0 and protocol == "T1")


def test_limits_on_time_and_memory_are_those_of_this_machine(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A machine on which every second candidate that is looked at is slow, and every third takes much memory.
    looks, measured = count(1), candidate_looks.measure_costs

    def costs(*arguments: Any, **named: Any) -> Costs:
        look = next(looks)
        return replace(
            measured(*arguments, **named),
            latency_ms=50.0 if look % 2 == 0 else 5.0,
            memory_mb=900.0 if look % 3 == 0 else 90.0,
        )

    monkeypatch.setattr(candidate_looks, "measure_costs", costs)
    monkeypatch.setattr(CandidateTraining, "dice", lambda self, device: 50.0)
    limits = ("--max-latency-ms", "10", "--max-memory-mb", "100")

    assert retrieve(dataset, "--protocol", "T5", *limits) == 0

    record = record_of(dataset)
    assert [c["costs"]["latency_ms"] for c in record["candidates"]] == [5.0] * 5
    assert [c["costs"]["memory_mb"] for c in record["candidates"]] == [90.0] * 5
    slow, large = "latency_ms 50 > 10", "memory_mb 900 > 100"
    # Looks 1, 5, 7, 11 and 13 are within both limits.
    expected = [[slow], [large], [slow], [slow, large], [slow], [large], [slow], [slow, large]]
    assert [one["breaks"] for one in record["rejected"]] == expected
    assert capsys.readouterr().out.count("; too much") == len(expected)


def test_batch_normalisation_is_recalibrated_on_the_target(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny.preprocessed / "tiny.json"
    plans = json.loads(path.read_text())
    arguments = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    arguments.update(norm_op="torch.nn.modules.batchnorm.BatchNorm2d", norm_op_kwargs={"eps": 1e-5, "affine": True})
    path.write_text(json.dumps(plans))
    fill(tiny, Zoo.create(tiny.base / "zoo"))
    looked: list[PreparedData] = []
    original = candidate_looks.recalibrate_on
    monkeypatch.setattr(
        candidate_looks,
        "recalibrate_on",
        lambda net, data, seed: (looked.append(data), original(net, data, seed=seed))[1],
    )

    assert retrieve(tiny, "--protocol", "T1") == 0

    weights = dict(read_checkpoint(folder_of(tiny) / START)["network_weights"])
    means = [value for key, value in weights.items() if key.endswith("running_mean")]
    # Untrained supernets have means of 0.
    assert means and all(mean.abs().max() > 0 for mean in means)
    assert "layers of batch normalisation recalibrated on training cases" in capsys.readouterr().out
    split = json.loads((tiny.preprocessed / "splits_final.json").read_text())[0]["train"]
    assert set(looked[0].cases) < set(split), "those that judge candidates are left out"


def test_the_target_is_looked_at_with_training_cases_of_the_fold_only(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[PreparedData] = []

    def look(data: PreparedData, **_: Any) -> None:
        looked.append(data)
        raise Killed

    monkeypatch.setattr("nnunet_iac.nnunet.retrieval.retrieval_target.region_features", look)
    for fold in (0, 1):
        with pytest.raises(Killed):
            retrieve(dataset, "-f", str(fold))

    splits = json.loads((dataset.preprocessed / "splits_final.json").read_text())
    assert [set(data.cases) for data in looked] == [set(split["train"]) for split in splits[:2]]
    assert not any(set(data.cases) & set(split["val"]) for data, split in zip(looked, splits, strict=False))


def test_candidates_are_judged_on_patients_of_the_training_cases_that_none_of_them_trains_on(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[CandidateTraining] = []
    monkeypatch.setattr(CandidateTraining, "dice", lambda self, _: float(asked.append(self) or 50))

    assert retrieve(dataset, "--protocol", "T5") == 0

    split = json.loads((dataset.preprocessed / "splits_final.json").read_text())[0]
    assert len(asked) == 5
    for one in asked:
        training, judges = (
            {case.split("_")[0] for case in cases} for cases in (one.training_cases, one.held_out_cases)
        )
        assert training and judges and not training & judges
        assert sorted([*one.training_cases, *one.held_out_cases]) == sorted(split["train"])


def test_killed_between_plans_and_record_the_same_command_ends_it_without_a_training(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = retrieval.write_json

    def dying(path: Path, content: Any) -> None:
        if path.name == RECORD:
            raise Killed
        written(path, content)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(retrieval, "write_json", dying)
        retrieve(dataset, "--protocol", "T5")
    assert (dataset.preprocessed / "tiny_retrieved.json").is_file() and not (folder_of(dataset) / RECORD).exists()

    monkeypatch.setattr(CandidateTrainer, "run_training", None)
    assert retrieve(dataset, "--protocol", "T5") == 0, "all trainings are done"
    assert len(record_of(dataset)["candidates"]) == 5
    assert retrieve(dataset, "--protocol", "T5") == 2, "now it is a finished one"
    assert "expected a new name" in capsys.readouterr().err


def test_plans_of_somebody_else_are_not_taken_for_leftovers(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retrieve(dataset, "--protocol", "T1") == 0
    path = dataset.preprocessed / "tiny_retrieved.json"
    path.unlink()
    (folder_of(dataset) / RECORD).unlink()
    configure("tiny_retrieved", "host.epochs=7", plans="tiny")
    before = path.read_bytes()

    assert retrieve(dataset, "--protocol", "T1") == 2
    error = capsys.readouterr().err
    assert "no retrieval wrote it; choose another name, or give --overwrite" in error and path.read_bytes() == before
    assert retrieve(dataset, "--protocol", "T1", "--overwrite") == 0
    plans = read_plans(path)
    assert plans["retrieved_as"] == "tiny_retrieved" and not is_retrieved({**plans, "plans_name": "derived_from_it"})


def test_the_same_data_under_another_name_is_said_and_can_be_left_out(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo = Zoo(dataset.base / "zoo")
    own = sorted((e for e in zoo.entries() if e.dataset == DATASET), key=lambda e: e.kind != SUPERNET)
    copies: dict[str, str] = {}
    for entry in own:
        about = Description(**{name: getattr(entry, name) for name in Description.__dataclass_fields__})
        tensors = zoo.read_weights(entry)
        facts = {key: copies.get(value, value) if key == "supernet" else value for key, value in about.facts.items()}
        zoo.remove([entry.id])
        copies[entry.id] = zoo.add(replace(about, dataset="Dataset104_Copy", facts=facts), tensors).entry.id

    assert retrieve(dataset, "--protocol", "T1") == 0
    assert "WARNING: Dataset104_Copy" in capsys.readouterr().out
    assert "Dataset104_Copy" in record_of(dataset)["alike"]
    assert retrieve(dataset, "--protocol", "T1", "--overwrite", "--without", "Dataset104_Copy") == 0
    record = record_of(dataset)
    assert "Dataset104_Copy" not in {*record["sources"], *record["space"]["datasets"], *record["alike"]}


def test_a_candidate_that_diverges_is_named_and_the_others_decide(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def known(self: CandidateTraining, _: object) -> float:
        if self.name == "candidate_1":
            raise FloatingPointError("loss: expected finite numbers, got NaN")
        return 10.0 * float(self.name[-1])

    monkeypatch.setattr(CandidateTraining, "dice", known)

    assert retrieve(dataset, "--protocol", "T5") == 0

    out, record = capsys.readouterr().out, record_of(dataset)
    assert "left out: candidate_1 diverged in its epoch" in out and "place 5 of 5 (1 diverged)" in record["why"]
    assert [c["failed"] is None for c in record["candidates"]] == [False, True, True, True, True]
    monkeypatch.setattr(CandidateTraining, "dice", diverge)
    assert retrieve(dataset, "--protocol", "T5", "--overwrite") == 2
    assert "all 5 diverged" in capsys.readouterr().err and record_of(dataset) == record


def diverge(training: CandidateTraining, _: object) -> float:
    raise FloatingPointError("loss: expected finite numbers, got NaN")


def test_a_given_candidate_is_brought_to_the_target_as_a_retrieved_one(dataset: Folders) -> None:
    assert retrieve(dataset, "--protocol", "T1") == 0
    retrieved = record_of(dataset)
    zoo = Zoo(dataset.base / "zoo")
    data = prepared_data(DATASET, "2d", "tiny", fold=0)
    paths = {"plans_path": dataset.preprocessed / "given.json", "folder": folder_of(dataset, "given")}
    target = retrieval_target(data, 0, name="given", **paths, patches=8, share=0.5, seed=0, device="cpu")
    tasks = [task for task in read_tasks(zoo) if task.dataset != DATASET]
    known = retrieved["candidates"][0]
    task = next(t for t in tasks if t.candidates.supernet == known["supernet"])
    one = Ranked(task, int(known["candidate"].split()[-1]), known["similarity"], known["predicted_dice"])

    given = choose(
        zoo, [one], find_nearness(tasks, target.sample), target, Request("T1"), lambda _: None, first="given"
    )

    assert given["sources"] == retrieved["sources"] == ["Dataset001_Source", "Dataset002_Source", "Dataset003_Source"]
    assert given["why"].endswith(f"Chosen: {known['candidate']}, given.") and given["transfer"] == retrieved["transfer"]
    starts = [read_checkpoint(folder_of(dataset, name) / START) for name in ("given", "tiny_retrieved")]
    assert equal(*(dict(start["network_weights"]) for start in starts))


def test_the_space_is_fitted_as_told_or_taken_from_the_zoo_and_the_record_says_which(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retrieve(dataset, "--protocol", "T1", "--steps", "2", "--rank", "0.5", "--fit-seed", "3") == 0
    fitted = record_of(dataset)["space"]
    told = fitted["settings"]
    assert (told["steps"], told["rank"], told["seed"], told["fid"]) == (2, 0.5, 3, 1.0) and fitted["entry"] is None

    zoo = Zoo(dataset.base / "zoo")
    tasks = read_tasks(zoo)
    without, everything = (
        zoo.add(*to_entry(fit([t for t in tasks if t.dataset not in left], FitSettings(steps=2)))).entry.id
        for left in ((DATASET,), ())
    )
    words = ("--protocol", "T1", "--overwrite", "--space")
    assert retrieve(dataset, *words, without) == 0
    record = record_of(dataset)
    assert record["space"]["entry"] == without and record["space"]["datasets"] == record["sources"]
    assert f"Meta-space: entry {without} of the zoo" in capsys.readouterr().out
    for given, message in (
        ((everything,), f"{DATASET} took part in it; fit one with nnunet-iac zoo fit --without"),
        ((without, "--steps", "2"), "--space: expected no settings of a fit"),
        (("ffff",), "ffff"),
    ):
        assert retrieve(dataset, *words, *given) == 2
        assert message in capsys.readouterr().err and record_of(dataset) == record


def test_the_order_is_the_zoos_choice_or_as_told_and_the_record_says_why(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retrieve(dataset, "--protocol", "T1") == 0
    chosen = record_of(dataset)["order"]
    assert chosen["lost"] and chosen["lost"][chosen["name"]] == min(chosen["lost"].values())
    assert f"Order of candidates: {chosen['name']}, with which T1 lost " in (printed := capsys.readouterr().out)
    assert f"the first by the order {chosen['name']}." in printed

    found = {}
    for order in ("largest", "meta-space"):
        assert retrieve(dataset, "--protocol", "T1", "--overwrite", "--order", order) == 0
        record = record_of(dataset)
        assert record["order"] == {"name": order, "why": "as asked for", "lost": {}}
        found[order] = record["candidates"][0]
    assert found["largest"]["candidate"].endswith(" candidate 0"), "the largest of its supernet"
    scores = {name: one["similarity"] - one["remoteness"] for name, one in found.items()}
    assert scores["meta-space"] >= scores["largest"]


def test_trainings_of_other_candidates_are_refused_unless_overwritten(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retrieve(dataset, "--protocol", "T5") == 0
    (dataset.preprocessed / "tiny_retrieved.json").unlink()

    assert retrieve(dataset, "--protocol", "T5", "--seed", "1") == 2
    assert "expected the trainings of these candidates" in capsys.readouterr().err
    assert retrieve(dataset, "--protocol", "T1", "--seed", "1", "--overwrite") == 0
    assert not (folder_of(dataset) / TRAININGS).exists()


def test_limits_are_kept_by_what_is_measured_here(dataset: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    order = ("--remoteness", "0")  # an order whose first is not the smallest network
    assert retrieve(dataset, *order, "--protocol", "T1") == 0
    nearest = record_of(dataset)["candidates"][0]
    limit = nearest["costs"]["parameters"] - 1

    assert retrieve(dataset, *order, "--protocol", "T1", "--max-params", str(limit), "--overwrite") == 0
    record = record_of(dataset)
    assert record["rejected"][0] == {
        "candidate": nearest["candidate"],
        "breaks": [f"parameters {limit + 1:.4g} > {limit:.4g}"],
    }
    assert [c["costs"]["parameters"] <= limit for c in record["candidates"]] == [True]
    assert record["order"]["why"].endswith(f" have at most {limit:,} parameters") or record["order"]["why"].endswith(
        f", among networks of at most {limit:,} parameters"
    ), "the zoo was asked under the limit"
    one = record["candidates"][0]["costs"]
    exact = ["--max-params", str(one["parameters"]), "--max-macs", str(one["macs"]), "--most", "1"]
    assert retrieve(dataset, *order, "--protocol", "T1", *exact, "--overwrite") == 0, "too large ones cost no look"
    exactly = record_of(dataset)
    assert exactly["candidates"][0]["candidate"] == record["candidates"][0]["candidate"]

    assert retrieve(dataset, *order, "--max-macs", "1", "--overwrite") == 2
    error = capsys.readouterr().err
    assert "limits: expected one of the first 18 candidates within them, got none" in error and "macs" in error
    assert record_of(dataset) == exactly, "what was found stays until something else is found"


def test_a_supernet_is_read_once_and_not_at_all_for_candidates_that_are_too_large(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[str] = []
    original = candidate_looks.read_supernet
    monkeypatch.setattr(
        candidate_looks, "read_supernet", lambda zoo, entry: (read.append(entry.id), original(zoo, entry))[1]
    )
    monkeypatch.setattr(CandidateTraining, "dice", lambda self, device: 50.0)

    assert retrieve(dataset, "--max-params", "1") == 2 and not read
    assert retrieve(dataset, "--protocol", "T10", "--overwrite") == 0
    assert len(record_of(dataset)["candidates"]) == 10 and len(read) == len(set(read)) <= 3


def test_a_source_whose_host_started_from_the_target_is_left_out(
    dataset: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo = Zoo(dataset.base / "zoo")
    entry = next(e for e in zoo.entries() if e.kind == "supernet" and e.dataset == "Dataset001_Source")
    scored = next(e for e in zoo.entries() if e.facts.get("supernet") == entry.id)
    weights, facts = zoo.read_weights(entry), {**entry.facts, "ancestors": [DATASET]}
    kept = {f: getattr(entry, f) for f in Description.__dataclass_fields__}
    zoo.remove([entry.id])
    added = zoo.add(Description(**{**kept, "facts": facts}), weights)
    assert added.entry.id == entry.id == scored.facts["supernet"]

    assert retrieve(dataset, "--protocol", "T1") == 0

    assert "the weights of Dataset001_Source 2d have seen the target" in capsys.readouterr().out
    record = record_of(dataset)
    assert record["sources"] == ["Dataset002_Source", "Dataset003_Source"]
    assert record["lineage"] in ([name] for name in record["sources"])


def test_the_record_names_all_data_sets_that_the_weights_have_seen(dataset: Folders) -> None:
    zoo = Zoo(dataset.base / "zoo")
    for entry in [e for e in zoo.entries() if e.kind == SUPERNET and e.dataset != DATASET]:
        weights = zoo.read_weights(entry)
        known = {name: getattr(entry, name) for name in Description.__dataclass_fields__}
        facts = {**entry.facts, "ancestors": [f"Dataset777_HostOf{entry.dataset}"]}
        zoo.remove([entry.id])
        assert zoo.add(Description(**{**known, "facts": facts}), weights).entry.id == entry.id

    assert retrieve(dataset, "--protocol", "T1", "--order", "largest") == 0

    record = record_of(dataset)
    own = record["candidates"][0]["candidate"].split()[0]
    assert record["lineage"] == [own, f"Dataset777_HostOf{own}"]


@pytest.mark.parametrize(("protocol", "count"), PROTOCOLS.items())
def test_the_order_is_chosen_for_the_protocol_that_was_asked_for(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch, protocol: str, count: int
) -> None:
    asked: list[int] = []

    def choose_order(*_: Any, count: int, **__: Any) -> None:
        asked.append(count)
        raise Killed

    monkeypatch.setattr(retrieval, "choose_order", choose_order)
    with pytest.raises(Killed):
        retrieve(dataset, "--protocol", protocol)
    assert asked == [count]


def test_the_weights_that_are_written_are_those_of_the_best_candidate(
    dataset: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CandidateTraining, "dice", lambda self, _: {"candidate_4": 70.0}.get(self.name, 50.0))

    assert retrieve(dataset, "--protocol", "T5", "--order", "largest") == 0

    assert record_of(dataset)["chosen"] == 4
    written = dict(read_checkpoint(folder_of(dataset) / START)["network_weights"])
    starts = [
        dict(read_checkpoint(folder_of(dataset) / f"candidate_{place}.pth")["network_weights"]) for place in range(1, 6)
    ]
    assert [equal(written, start) for start in starts] == [False, False, False, True, False]
    plans = configuration_of(read_plans(dataset.preprocessed / "tiny_retrieved.json"), "2d")["architecture"]
    assert len(written["encoder.stages.2.0.convs.0.conv.weight"]) == plans["arch_kwargs"]["features_per_stage"][2]


def test_patches_of_the_target_are_drawn_by_the_seed_that_was_given(dataset: Folders) -> None:
    data = prepared_data(DATASET, "2d", "tiny", fold=0)
    paths = {"plans_path": dataset.preprocessed / "given.json", "folder": folder_of(dataset, "given")}
    for seed in (0, 7):
        target = retrieval_target(data, 0, name="given", **paths, patches=2, share=0.5, seed=seed, device="cpu")
        expected = region_features(data, patches=2, seed=seed)
        assert np.array_equal(target.sample.features, expected.features)


def test_a_target_without_relatives_keeps_nnunets_start_and_says_so(
    tiny: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo = Zoo.create(tiny.base / "zoo")
    fill(tiny, zoo)
    move_away(zoo)

    assert retrieve(tiny, "--protocol", "T5") == 0

    out, record = capsys.readouterr().out, record_of(tiny)
    assert "No source is near" in out and record["outlier"] and not (folder_of(tiny) / START).exists()
    assert "-p tiny_retrieved -tr nnUNetTrainer\n" in out
    plans = [configuration_of(read_plans(tiny.preprocessed / f"{n}.json"), "2d") for n in ("tiny", "tiny_retrieved")]
    assert plans[0]["architecture"] == plans[1]["architecture"]

    assert "give --anyway and --overwrite" in out
    assert retrieve(tiny, "--protocol", "T1", "--anyway", "--overwrite") == 0
    out, record = capsys.readouterr().out, record_of(tiny)
    assert "No source is near" in out and "Retrieved all the same, as asked for (anyway)." in out
    assert not record["outlier"] and record["nearness"]["is_outlier"] and record["request"]["anyway"]
    assert "as asked for (anyway)" in record["why"] and "are kept" not in record["why"]
    assert (folder_of(tiny) / START).is_file() and "-tr nnUNetTrainerMedNNS" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-params", "0"), "limits: expected positive numbers"),
        (("--most", "0"), "--most: expected at least 1, got 0"),
        (("--share", "1"), "--share: expected a number between 0 and 1"),
        (("-o", "tiny"), "expected another name than the plans to derive from"),
        (("-o", "nnUNetPlans"), "expected a new name"),
        (("-c", "3d"), "configuration: expected one of"),
        (("--zoo", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    dataset: Folders, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    before = sorted(p.name for p in dataset.preprocessed.iterdir())

    assert retrieve(dataset, *words) == 2

    error = capsys.readouterr().err
    assert error.startswith("nnunet-iac retrieve: ") and message in error
    assert sorted(p.name for p in dataset.preprocessed.iterdir()) == before and not folder_of(dataset).exists()


def test_two_processes_do_not_retrieve_under_one_name(dataset: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    with alone_in(folder_of(dataset)):
        assert retrieve(dataset, "--protocol", "T1") == 2

    assert "expected a folder that no other process works in" in capsys.readouterr().err


def test_one_damaged_entry_does_not_stop_the_others(dataset: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = Zoo(dataset.base / "zoo")
    lost = next(e for e in zoo.entries() if e.kind == "supernet" and e.dataset == "Dataset001_Source")
    zoo.remove([lost.id])

    assert retrieve(dataset, "--protocol", "T1") == 0

    out = capsys.readouterr().out
    assert (
        "(Dataset001_Source subnetworks) cannot be used" in out and record_of(dataset)["nearest"] != "Dataset001_Source"
    )


def test_an_empty_zoo_says_what_to_do(tiny: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    Zoo.create(tiny.base / "zoo")

    assert retrieve(tiny) == 2
    assert "nnunet-iac zoo build" in capsys.readouterr().err
