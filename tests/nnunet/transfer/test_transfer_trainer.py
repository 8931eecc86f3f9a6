"""A search that starts from another: cold where it should be, the source's where it should be, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import DATASET, Folders
from tiny_dataset import Killed, configure, equal, final_weights, kill_at, log_of, make_trainer, train

from nnunet_iac.cells.warm_start import VARIATION
from nnunet_iac.nnunet.cases.dataset_features import dataset_features
from nnunet_iac.nnunet.cases.image_samples import PreparedData, prepared_data
from nnunet_iac.nnunet.files.model_folder import CHOICE
from nnunet_iac.nnunet.training.cell_search import mixed_cells
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.nnunet.transfer import transfer_trainer
from nnunet_iac.nnunet.transfer.transfer_trainer import CELLS_REPORT, HOST_REPORT, TransferTrainer, stored_choice
from nnunet_iac.nnunet.zoo_entries.search_import import CELLS, read_search
from nnunet_iac.search import search
from nnunet_iac.zoo.entry import Description, Entry
from nnunet_iac.zoo.store import Zoo

TRAINER = "nnUNetTrainerIACTransfer"
WARM = ("transfer.temperature=1", "transfer.rate=0.5", "transfer.rate_epochs=1")


@pytest.fixture
def source(tiny: Folders, finished: Folders) -> tuple[Zoo, Entry]:
    """The finished search in a zoo."""
    zoo = Zoo.create(tiny.base / "zoo")
    return zoo, zoo.add(*read_search(finished.results / "nnUNetTrainerIAC__tiny__2d" / "fold_0")).entry


def prepare(plans: str, source: tuple[Zoo, Entry], *settings: str) -> None:
    zoo, entry = source
    configure(plans, f"transfer.zoo={zoo.place.folder}", f'transfer.source="{entry.id}"', *settings)


def fold(folders: Folders, plans: str, number: int = 0, trainer: str = TRAINER) -> Path:
    return folders.results / f"{trainer}__{plans}__2d" / f"fold_{number}"


def search_lines(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "search.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def cells_of(folder: Path) -> Any:
    return json.loads((folder.parent / "genotype.json").read_text())["2d"]["cells"]


def test_at_infinite_temperature_it_is_a_search_from_scratch(
    tiny: Folders, finished: Folders, source: tuple[Zoo, Entry]
) -> None:
    prepare("cold", source, "transfer.temperature=inf", "transfer.weights=false", "transfer.host=false")

    train(TRAINER, plans="cold")

    cold, scratch = fold(tiny, "cold"), fold(finished, "tiny", trainer="nnUNetTrainerIAC")
    assert "divided by inf" in log_of(cold), "it went through the transfer"
    assert search_lines(cold) == search_lines(scratch)
    assert cells_of(cold) == cells_of(scratch)
    assert equal(final_weights(cold), final_weights(scratch))


def test_it_starts_with_the_source_and_killed_without_its_zoo_ends_as_if_undisturbed(
    tiny: Folders, source: tuple[Zoo, Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo, entry = source
    tensors = zoo.read_weights(entry)
    for plans in ("warm", "twin"):
        prepare(plans, source, *WARM)
    hosts = []

    def record(self: TransferTrainer) -> None:
        hosts.append({name: value.clone() for name, value in self.cell_network.state_dict().items()})
        super(TransferTrainer, self).on_epoch_start()

    with monkeypatch.context() as patch:
        patch.setattr(TransferTrainer, "on_epoch_start", record, raising=False)
        train(TRAINER, plans="twin")
    assert all(torch.equal(hosts[0][name], value) for name, value in tensors.items() if not name.startswith(CELLS))

    with monkeypatch.context() as patch:
        kill_at(patch, search, "save_state", 1, after=True)
        with pytest.raises(Killed):
            train(TRAINER, plans="warm")
    here = fold(tiny, "warm")
    begun = torch.load(here / "search_state.pt", weights_only=True)["network"]
    assert begun and all(torch.equal(value, tensors[CELLS + name]) for name, value in begun.items())
    assert json.loads((here / HOST_REPORT).read_text())["share"] == 1.0
    assert "Transfer: cells: " in log_of(here) and "100.0 %" in log_of(here)
    zoo.place.folder.rename(tiny.base / "elsewhere")

    train(TRAINER, plans="warm", resume=True)

    assert search_lines(here) == search_lines(fold(tiny, "twin"))
    assert equal(final_weights(here), final_weights(fold(tiny, "twin")))
    assert json.loads((here / "search_result.json").read_text())["start"]["source"] == entry.id


@pytest.mark.parametrize("temperature", [1, 2])
def test_a_search_goes_on_from_the_squared_steps_of_its_source_at_the_rate_of_the_settings(
    tiny: Folders, source: tuple[Zoo, Entry], temperature: int
) -> None:
    zoo, entry = source
    steps = zoo.read_weights(entry)[CELLS + VARIATION]
    prepare("warm", source, *WARM[1:], f"transfer.temperature={temperature}")
    trainer = make_trainer(TRAINER, plans="warm")
    trainer.initialize()
    trainer._choice = trainer._settle_choice()
    start = trainer._cell_start()

    found = start.fill(mixed_cells(trainer.cell_network, trainer.settings, torch.device("cpu")))

    assert bool((steps > 0).any())
    assert torch.equal(found, steps / temperature**2)
    assert (start.rate, start.rate_epochs) == (0.5, 1)


def test_a_source_of_another_projection_gives_everything_else_and_the_log_says_so(
    tiny: Folders, source: tuple[Zoo, Entry]
) -> None:
    prepare("gained", source, *WARM, "cell.projection=gain")

    train(TRAINER, plans="gained")

    here = fold(tiny, "gained")
    assert "WARNING: transfer: the source was searched with cell.projection=zero, not gain." in log_of(here)
    tensors = {one["name"]: one for one in json.loads((here / CELLS_REPORT).read_text())["records"]}
    assert tensors["levels.0.projection.weight"]["how"] == "the source had another projection"
    assert tensors["levels.0.inputs.0.1.weight"]["what"] == "copied"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["cell.nodes=2"], "its cells have 4 nodes, cell.nodes is 2"),
        (["transfer.zoo=null"], r"transfer\.zoo: expected the folder or URL of a zoo, got null; set it with"),
        (["transfer.source=nearest"], r"no dataset features of|the target's own data set"),
    ],
)
def test_what_cannot_be_started_from_is_refused_before_anything_is_trained(
    tiny: Folders, source: tuple[Zoo, Entry], monkeypatch: pytest.MonkeyPatch, settings: list[str], message: str
) -> None:
    prepare("wrong", source, *settings)
    monkeypatch.setattr(IACTrainer, "_run_epochs", lambda *_: pytest.fail("trained before it refused"))

    with pytest.raises(ValueError, match=message):
        train(TRAINER, plans="wrong")


def planted(zoo: Zoo, entry: Entry, features: tuple[Description, dict[str, torch.Tensor]], name: str, by: float) -> str:
    """Add the search and the features as those of another data set, moved by a distance; return the search's id."""
    known = {key: getattr(entry, key) for key in Description.__dataclass_fields__}
    about, tensors = features
    moved = {**tensors, "features": tensors["features"] + by}
    zoo.add(Description(**{**{k: getattr(about, k) for k in known}, "dataset": name}), moved)
    return zoo.add(Description(**{**known, "dataset": name}), zoo.read_weights(entry)).entry.id


def test_data_sets_are_compared_by_training_cases_of_the_fold_only(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[PreparedData] = []
    monkeypatch.setattr(transfer_trainer, "region_features", lambda data, **_: looked.append(data))
    for number in (0, 1):
        trainer = make_trainer(TRAINER, fold=number)
        trainer.initialize()
        trainer._target().features()

    splits = json.loads((tiny.preprocessed / "splits_final.json").read_text())
    assert [set(data.cases) for data in looked] == [set(split["train"]) for split in splits[:2]]
    assert not any(set(data.cases) & set(split["val"]) for data, split in zip(looked, splits, strict=False))


def test_the_nearest_data_set_is_taken_and_later_folds_take_the_same(tiny: Folders, source: tuple[Zoo, Entry]) -> None:
    zoo, entry = source
    features = dataset_features(prepared_data(DATASET, "2d"), patches=4)
    planted(zoo, entry, features, "Dataset901_Far", 5.0)
    near = planted(zoo, entry, features, "Dataset902_Near", 0.01)
    prepare("near", source, "transfer.source=nearest")
    trainer = make_trainer(TRAINER, plans="near")
    trainer.initialize()
    assert trainer._settle_choice().source == near
    choice = stored_choice(fold(tiny, "near"))
    assert choice is not None and [row["dataset"] for row in choice.distances] == ["Dataset902_Near", "Dataset901_Far"]
    text = log_of(fold(tiny, "near"))
    assert "is the nearest to Dataset990_Tiny of 2" in text and "the target's own data set" in text

    zoo.remove([near])
    later = make_trainer(TRAINER, plans="near", fold=1)
    later.initialize()
    assert later._settle_choice().source == near and (fold(tiny, "near", 1) / CHOICE).is_file()
    text = log_of(fold(tiny, "near", 1))
    assert "as fold_0 of this model did" in text and "NOTE: chosen by the training images of fold_0; validation" in text
    again = make_trainer(TRAINER, plans="near", resume=True)
    assert again._settle_choice().source == near

    (fold(tiny, "near", 1) / CHOICE).write_text("{")
    with pytest.raises(ValueError, match=r"transfer\.json: expected the choice of a run, got a damaged file"):
        make_trainer(TRAINER, plans="near")._settle_choice()


def test_a_search_alone_keeps_a_host_that_is_trained_already(tiny: Folders, source: tuple[Zoo, Entry]) -> None:
    train("nnUNetTrainerIACHost")
    zoo, entry = source
    named = (f"transfer.zoo={zoo.place.folder}", f'transfer.source="{entry.id}"', "transfer.temperature=1e6")
    configure("alone", *named, plans="tiny")

    train("nnUNetTrainerIACTransferSearch", plans="alone")

    here = fold(tiny, "alone", trainer="nnUNetTrainerIACTransferSearch")
    text = log_of(here)
    assert "host starts from weights of its own" in text and "divided by 1000000.0" in text
    assert not (here / HOST_REPORT).exists() and (tiny.preprocessed / "alone_iac.json").is_file()
