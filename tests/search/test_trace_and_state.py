from __future__ import annotations

import json

import pytest
import torch

from nnunet_iac.search.stability import Decision, StabilityState
from nnunet_iac.search.state import load_state, pack_stability, save_state, unpack_stability
from nnunet_iac.search.trace import append_record, epoch_record, truncate_records

IDENTITY = {"seed": 0, "epochs": 9, "tau": None, "weight_cases": ["a", "b"], "cell": {"nodes": 4}}
CONTENT = {"identity": IDENTITY, "network": {"w": torch.randn(50, 50)}, "epoch": 3}


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "search_state.pt"
    save_state(path, CONTENT)
    return path


class TestState:
    def test_comes_back_as_it_was_and_alone(self, state):
        content = load_state(state, dict(IDENTITY))
        assert torch.equal(content["network"]["w"], CONTENT["network"]["w"]) and content["epoch"] == 3
        assert [p.name for p in state.parent.iterdir()] == ["search_state.pt"]

    def test_all_differing_settings_are_named_with_both_values(self, state):
        with pytest.raises(ValueError, match="this one differs") as caught:
            load_state(state, {**IDENTITY, "seed": 1, "epochs": 20, "cell": {"nodes": 3}, "drift": 0.5})
        message = str(caught.value)
        parts = ("seed: was 0, is 1", "epochs: was 9, is 20", "'nodes': 4", "'nodes': 3", "drift: was None, is 0.5")
        assert all(part in message for part in parts) and "tau" not in message and "--c" in message

    @pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.7, 0.99])
    def test_a_truncated_file_is_called_damaged_and_left_as_it_is(self, state, kept):
        whole = state.read_bytes()
        state.write_bytes(whole[: int(kept * len(whole))])
        torn = state.read_bytes()
        with pytest.raises(ValueError, match=r"expected a whole file, got a damaged one at .*search_state.pt"):
            load_state(state, IDENTITY)
        assert state.read_bytes() == torn

    @pytest.mark.parametrize("where", range(8))
    def test_a_file_overwritten_in_places_is_an_error_of_value(self, state, where):
        content = bytearray(state.read_bytes())
        start = where * len(content) // 8
        content[start : start + len(content) // 8] = bytes(len(content) // 8)
        state.write_bytes(content)
        with pytest.raises(ValueError, match="search state: expected"):
            load_state(state, IDENTITY)

    @pytest.mark.parametrize("junk", [b"", b"not a checkpoint", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(100), b"{}"])
    def test_another_file_is_an_error_of_value(self, state, junk):
        state.write_bytes(junk)
        with pytest.raises(ValueError, match="search state: expected"):
            load_state(state, IDENTITY)

    @pytest.mark.parametrize("content", [{"schema": 1, "identity": IDENTITY}, {"identity": IDENTITY}, [1, 2]])
    def test_another_schema_is_named(self, state, content):
        torch.save(content, state)
        with pytest.raises(ValueError, match=r"expected schema 2, got .*search again without --c"):
            load_state(state, IDENTITY)

    def test_a_state_of_no_search_is_of_another_search(self, state):
        torch.save({"schema": 2}, state)
        with pytest.raises(ValueError, match=r"this one differs .*seed: was None, is 0"):
            load_state(state, IDENTITY)

    def test_no_file_at_all_says_what_to_do(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="start the search without --c"):
            load_state(tmp_path / "absent.pt", IDENTITY)

    def test_code_in_a_file_is_not_executed(self, state, tmp_path):
        torch.save({"schema": 2, "identity": IDENTITY, "bad": Opener(str(tmp_path / "made"))}, state)
        with pytest.raises(ValueError, match="damaged"):
            load_state(state, IDENTITY)
        assert not (tmp_path / "made").exists()

    def test_the_memory_of_the_rule_survives_the_file(self, tmp_path):
        memory = StabilityState(torch.rand(3, 1, 2, 8), torch.tensor([[4, 1]]), torch.tensor([[2, 0]]), "0:1,1:2", 5)
        save_state(tmp_path / "s.pt", {"identity": {}, "stability": pack_stability(memory)})
        read = unpack_stability(load_state(tmp_path / "s.pt", {})["stability"])
        assert all(torch.equal(getattr(read, n), getattr(memory, n)) for n in ("history", "age", "stable"))
        assert (read.topology, read.still) == (memory.topology, memory.still)


class Opener:
    """Unpickles by making a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def record(epoch: int):
    mask = torch.ones(1, 2, 8, dtype=torch.bool)
    mask[0, 1, 3] = False
    return epoch_record(
        epoch=epoch,
        phase="search",
        seconds=1.23456,
        weight_loss=-0.4,
        arch_loss=-0.3,
        probabilities=torch.full((1, 2, 8), 0.125, requires_grad=True),
        edge_weights=torch.tensor([[1 / 3, 2 / 3]]),
        decision=Decision(mask, torch.tensor([[0.25, torch.nan]]), torch.tensor([[True, False]]), ((0, 1, 3),), False),
    )


class TestTrace:
    def test_a_line_is_the_contract(self, tmp_path):
        append_record(tmp_path / "t.jsonl", record(7))
        (line,) = (tmp_path / "t.jsonl").read_text().splitlines()
        assert json.loads(line) == {
            "schema": 1,
            "epoch": 7,
            "phase": "search",
            "seconds": 1.235,
            "weight_loss": -0.4,
            "arch_loss": -0.3,
            "probabilities": [[[0.125] * 8] * 2],
            "edge_weights": [[0.3333333, 0.6666667]],
            "jsd": [[0.25, None]],
            "mask": [[[1] * 8, [1, 1, 1, 0, 1, 1, 1, 1]]],
            "pruned": [[0, 1, "skip_connect"]],
            "decided": [[True, False]],
            "active_operations": 15,
        }

    def test_lines_of_later_epochs_go_and_so_does_a_torn_one(self, tmp_path):
        path = tmp_path / "t.jsonl"
        for epoch in range(5):
            append_record(path, record(epoch))
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines)[:-40])
        truncate_records(path, 3)
        assert path.read_text().splitlines() == lines[:3]

    @pytest.mark.parametrize("junk", ["", "\n\n", "{", "[1]\n3\nnull\n", '{"schema": 1}\n', "\x00\x00\x00"])
    def test_whatever_is_no_record_goes(self, tmp_path, junk):
        path = tmp_path / "t.jsonl"
        append_record(path, record(0))
        line = path.read_text()
        path.write_text(line + junk)
        truncate_records(path, 9)
        assert path.read_text() == line

    def test_no_file_is_no_error(self, tmp_path):
        truncate_records(tmp_path / "absent.jsonl", 3)
        assert not list(tmp_path.iterdir())
