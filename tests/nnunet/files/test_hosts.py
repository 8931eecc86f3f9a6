"""Trained hosts: found, read without running their pickle, and checked tensor by tensor."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_folders import DATASET, Folders

from nnunet_iac.nnunet.files.hosts import find_host, host_candidates, read_checkpoint, read_host, results_folder

WEIGHTS = {"encoder.conv.weight": torch.ones(4, 1, 3, 3), "decoder.head.bias": torch.zeros(2)}


class Command:
    """A pickle of this runs a command when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def save(path: Path, weights: dict[str, Any] = WEIGHTS, **more: Any) -> Path:
    torch.save({"network_weights": weights, **more}, path)
    return path


class TestWhereTheyLie:
    def test_own_plans_come_first_and_the_stock_trainer_before_ours(self, tmp_path: Path) -> None:
        names = [p.parts[-3] for p in host_candidates(tmp_path, DATASET, ["b", "a"], "2d", 3)]

        assert names == [f"{t}__{p}__2d" for p in "ba" for t in ("nnUNetTrainer", "nnUNetTrainerIACHost")]

    def test_the_first_that_exists_counts(self, tmp_path: Path) -> None:
        candidates = host_candidates(tmp_path, DATASET, ["b", "a"], "2d", "all")
        for path in candidates[1:3]:
            path.parent.mkdir(parents=True)
            save(path)

        assert find_host(candidates) == candidates[1] and "fold_all" in str(candidates[1])

    def test_where_there_is_none_the_message_says_where_and_what_to_run(self, tmp_path: Path) -> None:
        candidates = host_candidates(tmp_path, DATASET, ["plans"], "2d", 0)

        with pytest.raises(FileNotFoundError) as caught:
            find_host(candidates)

        assert all(str(path) in str(caught.value) for path in candidates)
        assert "nnUNetv2_train" in str(caught.value) and "not finished" not in str(caught.value)

    def test_an_unfinished_training_is_named(self, tmp_path: Path) -> None:
        candidates = host_candidates(tmp_path, DATASET, ["plans"], "2d", 0)
        candidates[0].parent.mkdir(parents=True)
        save(candidates[0].with_name("checkpoint_latest.pth"))

        with pytest.raises(FileNotFoundError, match=r"fold_0 is not finished: continue it with --c"):
            find_host(candidates)

    def test_the_results_folder_must_be_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("nnUNet_results", raising=False)

        with pytest.raises(FileNotFoundError, match="nnUNet_results: expected the environment variable"):
            results_folder()


class TestReading:
    def test_everything_nnunet_stores_is_read_with_weights_only(self, finished: Folders) -> None:
        fold = finished.results / "nnUNetTrainerIAC__tiny__2d" / "fold_0"

        checkpoint = read_checkpoint(fold / "checkpoint_final.pth")

        assert checkpoint["init_args"]["device"] == torch.device("cpu")
        assert isinstance(checkpoint["_best_ema"], np.floating)
        assert checkpoint["trainer_name"] == "nnUNetTrainerIAC" and checkpoint["current_epoch"] == 4

    @pytest.mark.parametrize("core", ["core", "_core"])
    def test_scalars_of_both_numpy_generations_are_read(self, tmp_path: Path, core: str) -> None:
        path, other = save(tmp_path / "here.pth", best=np.float64(0.75)), tmp_path / "other.pth"
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
            for name in source.namelist():
                target.writestr(name, re.sub(rb"numpy\._?core", f"numpy.{core}".encode(), source.read(name)))

        assert read_checkpoint(other)["best"] == 0.75

    def test_a_pickle_that_would_run_a_command_is_not_run(self, tmp_path: Path) -> None:
        path = save(tmp_path / "evil.pth", more=Command(tmp_path / "run"))

        with pytest.raises(ValueError, match="expected a file that holds only tensors and plain values"):
            read_host(path, WEIGHTS)
        assert not (tmp_path / "run").exists()

        torch.load(path, weights_only=False)
        assert (tmp_path / "run").exists(), "the file must be one that does run its command elsewhere"

    def test_with_trust_it_is_read_after_a_warning_that_says_what_that_means(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = save(tmp_path / "old.pth", more=Command(tmp_path / "run"))
        with pytest.raises(ValueError, match="--trust, which lets the file run any command as you"):
            read_checkpoint(path)
        assert not (tmp_path / "run").exists()

        checkpoint = read_checkpoint(path, trust=True)

        assert (tmp_path / "run").exists() and set(checkpoint["network_weights"]) == set(WEIGHTS)
        assert "can run any command on this machine with your rights" in capsys.readouterr().err

    def test_trust_does_not_unpickle_a_file_that_needs_none(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        read_checkpoint(save(tmp_path / "new.pth"), trust=True)

        assert capsys.readouterr().err == ""

    def test_a_flipped_bit_in_the_numbers_is_noticed(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.pth")
        content = path.read_bytes()
        place = content.index(next(iter(WEIGHTS.values())).numpy().tobytes())
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        torch.load(path, weights_only=True)  # which notices nothing

        with pytest.raises(ValueError, match=r"damaged one: .*a\.pth \(the checksum of"):
            read_checkpoint(path)

    def test_a_file_that_would_unpack_to_more_than_it_is_long_is_not_unpacked(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.pth")
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data/9", bytes(1 << 22))

        with pytest.raises(ValueError, match="would unpack to more than its"):
            read_checkpoint(path)

    def test_a_tensor_that_claims_more_numbers_than_it_has_is_refused(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.pth", {"w": torch.ones(1).expand(1 << 40)})

        with pytest.raises(ValueError, match=r"each with all its numbers, got others at \['w'\]"):
            read_checkpoint(path)

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
    def test_a_truncated_file_is_named(self, tmp_path: Path, share: float) -> None:
        path = save(tmp_path / "checkpoint_final.pth", more=list(range(1000)))
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

        with pytest.raises(ValueError, match=r"checkpoint: expected .*checkpoint_final\.pth"):
            read_checkpoint(path)

    @pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"network_weights": 3}])
    def test_a_file_of_something_else_is_named(self, tmp_path: Path, content: Any) -> None:
        torch.save(content, tmp_path / "other.pth")

        with pytest.raises(ValueError, match='expected an nnU-Net checkpoint with "network_weights"'):
            read_checkpoint(tmp_path / "other.pth")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"expected the file .*none\.pth"):
            read_checkpoint(tmp_path / "none.pth")


class TestFitting:
    def test_weights_of_several_gpus_fit_too(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.pth", {f"module.{key}": value for key, value in WEIGHTS.items()})

        assert read_host(path, WEIGHTS).weights.keys() == WEIGHTS.keys()

    def test_another_architecture_is_named_tensor_by_tensor(self, tmp_path: Path) -> None:
        other = {"encoder.conv.weight": torch.ones(8, 1, 3, 3), "extra": torch.zeros(1)}
        path = save(tmp_path / "a.pth", other)

        with pytest.raises(ValueError) as caught:
            read_host(path, WEIGHTS)

        for part in ("missing ['decoder.head.bias']", "unknown ['extra']", "expected (4, 1, 3, 3), got (8, 1, 3, 3)"):
            assert part in str(caught.value)

    def test_a_network_with_cells_is_no_host(self, finished: Folders) -> None:
        path = finished.results / "nnUNetTrainerIAC__tiny__2d" / "fold_0" / "checkpoint_final.pth"

        with pytest.raises(ValueError, match="expected a stock network without cells"):
            read_host(path, WEIGHTS)
