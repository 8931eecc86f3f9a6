"""``OMP_NUM_THREADS`` counts, although nnU-Net sets the number of threads itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from nnunet_iac.nnunet.training.cell_trainer import CellTrainer
from nnunet_iac.nnunet.training.threads import VARIABLE, respect_thread_limit


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # as nnU-Net does, with the number of cores
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("text", "threads"), [("1", 1), ("2", 2), (" 2 ", 2), ("2,1", 2), ("", 3), (None, 3)])
def test_a_training_on_a_cpu_takes_what_the_environment_allows(
    monkeypatch: pytest.MonkeyPatch, text: str | None, threads: int
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(VARIABLE, text)
    said = respect_thread_limit(torch.device("cpu"))
    assert torch.get_num_threads() == threads
    assert (said is None) == (threads == 3)
    assert said is None or said.startswith(f"threads: {threads}, as OMP_NUM_THREADS says, not 3")


def test_a_trainer_takes_what_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")

    def stop(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr("nnunet_iac.nnunet.training.cell_trainer.settings_of", stop)  # what comes next there
    with pytest.raises(InterruptedError):
        CellTrainer({}, "2d", 0, {}, torch.device("cpu"))
    assert torch.get_num_threads() == 1


def test_a_gpu_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    respect_thread_limit(torch.device("cuda"))
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "²"])
def test_what_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ValueError, match=f"{VARIABLE}: expected a number of threads, such as 4, got '{text}'"):
        respect_thread_limit(torch.device("cpu"))
