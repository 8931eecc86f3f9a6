"""A search on a third data set that starts from one on two others, smoothed or not, end to end."""

from __future__ import annotations

import json
from typing import Any

import multi_commands as commands
import pytest
import torch
from nnunet_folders import DATASET, Folders
from tiny_dataset import configure, log_of, train

from nnunet_iac.nnunet.transfer.transfer_trainer import CELLS_REPORT, HOST_REPORT, TransferTrainer, stored_choice
from nnunet_iac.nnunet.zoo_entries.search_import import CELLS

TRAINER = "nnUNetTrainerIACTransferSearch"


@pytest.mark.parametrize(
    ("smoothing", "difference"),
    [
        ([], ""),
        (["search.perturbation=random"], "the source was searched with search.perturbation=random, not none"),
    ],
)
def test_a_third_data_set_starts_from_it(
    tiny: Folders,
    stock_plans: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    smoothing: list[str],
    difference: str,
) -> None:
    commands.prepare_two(tiny, stock_plans)
    assert commands.build(tiny, "--set", "search.warmup_epochs=1", *smoothing) == 0
    zoo, entry = commands.found(tiny)
    tensors = zoo.read_weights(entry)
    configure("warm", f"transfer.zoo={zoo.place.folder}", "transfer.source=multi", "transfer.temperature=1")
    filled, fill = [], TransferTrainer._fill

    def recorded(self: TransferTrainer, cells: Any) -> torch.Tensor:
        variation = fill(self, cells)
        filled.append({name: value.clone() for name, value in cells.state_dict().items()})
        return variation

    monkeypatch.setattr(TransferTrainer, "_fill", recorded)

    train(TRAINER, plans="warm")

    fold = tiny.results / f"{TRAINER}__warm__2d" / "fold_0"
    text, choice = log_of(fold), stored_choice(fold)
    assert choice is not None and (choice.source, choice.wanted) == (entry.id, "multi")
    assert list(choice.lineage) == [commands.FIRST, commands.SECOND] and DATASET not in choice.lineage
    assert "it was searched on 2 data sets together" in text
    assert (difference in text) if difference else "search.perturbation" not in text
    assert all(torch.equal(filled[0][f"architecture.{n}"], tensors[f"{CELLS}architecture.{n}"]) for n in ("alpha",))
    host = {row["name"]: row for row in json.loads((fold / HOST_REPORT).read_text())["records"]}
    heads = [name for name in host if "seg_layers" in name]
    assert len(heads) == 4 and {host[name]["what"] for name in heads} == {"skipped"}, "drawn afresh"
    assert all(row["what"] in ("copied", "adapted") for name, row in host.items() if name not in heads)
    assert (fold / CELLS_REPORT).is_file()
    assert json.loads((fold / "search_result.json").read_text())["start"]["source"] == entry.id
    assert (tiny.preprocessed / "warm_iac.json").is_file(), "its genotype"
