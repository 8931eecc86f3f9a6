"""What a search in a trainer leaves behind, on batches that are made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_hosts import BACKBONES, host_arguments

from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.training.cell_search import SearchData, control_genotype, search_cells
from nnunet_iac.nnunet.training.cell_start import CellStart
from nnunet_iac.reports.result import read_result

SEARCH = {"epochs": 2, "iterations": 1, "warmup_epochs": 1, "select_batches": 2}


def open_stream(cases: list[str], stream: int, start: int, augment: bool) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        generator = torch.Generator().manual_seed(1000 * stream + start)
        data, target = (torch.randn(1, n, 8, 8, generator=generator) for n in (1, 3))
        yield {"data": data, "target": target}
        start += 1


def searched(
    folder: Path, *, first_level: int = 0, start: CellStart | None = None, **search: Any
) -> tuple[Genotype, dict[str, Any]]:
    """Search with per-level cells and return the genotype and the record."""
    cell = {"nodes": 1, "shared": False, "first_level": first_level}
    settings = Settings.from_block({"search": {**SEARCH, **search}, "cell": cell})
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
        start=start,
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


def test_a_search_that_starts_from_another_goes_on_from_its_squared_steps_by_eased_steps(tmp_path: Path) -> None:
    before = torch.full((2, 2, len(OPERATIONS)), 0.5, dtype=torch.float64)
    starts = {
        "fresh": None,
        "as large": CellStart({"source": "s"}, lambda _: before),
        "eased": CellStart({"source": "s"}, lambda _: before, rate=0.25, rate_epochs=1),
        "late": CellStart({"source": "s"}, lambda _: before, rate=0.25, rate_epochs=0),
    }
    walked = {}
    for name, start in starts.items():
        (tmp_path / name).mkdir()
        searched(tmp_path / name, start=start)
        walked[name] = torch.load(tmp_path / name / "search_state.pt", weights_only=True)["variation"]

    own = walked["fresh"]  # of one step, since the other epoch is the warm-up
    assert bool((own > 0).any())
    assert torch.equal(walked["as large"], before + own) and torch.equal(walked["late"], before + own)
    torch.testing.assert_close(walked["eased"] - before, 0.25**2 * own, rtol=0.02, atol=1e-12)


def test_cells_start_at_the_level_of_the_settings_and_states_of_before_fit(tmp_path: Path) -> None:
    """Two skip connections: with `first_level` 1 the full resolution has none, in the search and in its control."""
    (tmp_path / "all").mkdir(), (tmp_path / "deep").mkdir()
    everywhere, _ = searched(tmp_path / "all")
    deeper, record = searched(tmp_path / "deep", first_level=1)
    assert (everywhere.first_level, len(everywhere.cells)) == (0, 2)
    assert (deeper.first_level, len(deeper.cells)) == (1, 1)
    assert record["genotype"]["first_level"] == 1 and record["edges"] == 2

    identities = [
        torch.load(tmp_path / name / "search_state.pt", weights_only=True)["identity"]["cell"]
        for name in ("all", "deep")
    ]
    assert "first_level" not in identities[0] and identities[1]["first_level"] == 1
    assert all("projection" not in one for one in identities)

    settings = Settings.from_block({"cell": {"shared": False, "first_level": 1}})
    control = control_genotype("random", settings, levels=3)
    assert (control.first_level, len(control.cells)) == (1, 2)
    with pytest.raises(
        ValueError, match=r"first_level: expected at most 0, since the plan has 1 skip .* set cell.first"
    ):
        control_genotype("random", settings, levels=1)
