"""A file of a search's state with other bytes in it is noticed and named."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from fuzzing import dumped, few, files, jsons, takes_or_says
from hypothesis import given

from nnunet_iac.search.state import load_state, save_state
from nnunet_iac.search.trace import truncate_records


def test_any_file(tmp_path: Path) -> None:
    path = tmp_path / "search_state.pt"
    save_state(path, {"identity": {"seed": 0}, "network": {"w": torch.ones(9)}})

    @few
    @given(files(path.read_bytes()))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        takes_or_says(load_state, path, {"seed": 0}, named=(path.name,))

    check()


def test_any_trace_is_cut_back_to_its_whole_lines(tmp_path: Path) -> None:
    path, line = tmp_path / "search.jsonl", {"epoch": 0, "mask": [[1]]}

    @few
    @given(files(dumped(line) + b"\n" + dumped({**line, "epoch": 1})) | jsons(line).map(dumped))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        truncate_records(path, 1)
        assert all(json.loads(kept)["epoch"] < 1 for kept in path.read_text(encoding="utf-8").splitlines())

    check()
