"""What a search in a trainer leaves behind, on batches that are made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tiny_hosts import BACKBONES, host_arguments

from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.nnunet.cell_search import SearchData, search_cells
from nnunet_iac.nnunet.settings import Settings
from nnunet_iac.reports.result import read_result

SEARCH = {"epochs": 2, "iterations": 1, "warmup_epochs": 1, "select_batches": 2}


def open_stream(cases: list[str], stream: int, start: int, augment: bool) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        generator = torch.Generator().manual_seed(1000 * stream + start)
        data, target = (torch.randn(1, n, 8, 8, generator=generator) for n in (1, 3))
        yield {"data": data, "target": target}
        start += 1


def searched(folder: Path, **search: Any) -> tuple[Genotype, dict[str, Any]]:
    """Search with per-level cells and return the genotype and the record."""
    settings = Settings.from_block({"search": {**SEARCH, **search}, "cell": {"nodes": 1, "shared": False}})
    torch.manual_seed(0)
    network = CellUNet(BACKBONES["plain"], Genotype.identity(), **host_arguments())
    genotype = search_cells(
        network,
        lambda output, target: (output - target).square().mean(),
        SearchData(["a"], ["b"], open_stream, None),
        settings,
        folder,
        device=torch.device("cpu"),
        host_checkpoint=None,
        prune=None,
        resume=False,
        log=lambda _: None,
    )
    return genotype, json.loads((folder / "search_result.json").read_text())


def test_the_record_has_scores_only_where_removal_selected(tmp_path: Path) -> None:
    assert "removal" not in searched(tmp_path)[1]
    genotype, record = searched(tmp_path, select="removal")

    scores, edges = record["removal"], range(len(genotype.cells) * 2)
    assert scores["batches"] == 2 and scores["forwards"] == 2 * (1 + len(edges) * 8)
    for level, edge in (divmod(at, 2) for at in edges):
        rises = scores["operations"][level][edge]
        assert rises[0] is None and genotype.cells[level][0][edge] == (OPERATIONS[rises.index(max(rises[1:]))], edge)
    result = read_result(tmp_path / "search_result.json")
    assert result.settings["search.select"] == "removal" and "Selected by removal on 2 held-out" in result.message
