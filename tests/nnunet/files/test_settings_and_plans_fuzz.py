"""Any settings and any plans are taken or refused in words, naming the settings, the plans or the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fuzzing import dumped, few, files, json_values, jsons, takes_or_says
from hypothesis import given
from hypothesis import strategies as st

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.label_set import read_label_set
from nnunet_iac.nnunet.files.plans import configuration_of, derive, genotype_of, read_plans, with_genotype
from nnunet_iac.nnunet.files.run_state import read_state, write_state
from nnunet_iac.nnunet.files.setting_assignments import parse_assignments
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.files.splits import read_splits
from nnunet_iac.nnunet.transfer.nearest_source import SourceChoice

BLOCK = Settings().to_block()
LABELS = {"labels": {"background": 0, "a": 1, "b": [1, 2]}, "file_ending": ".nii.gz"}


@few
@given(jsons(BLOCK))
def test_any_block_of_settings(block: Any) -> None:
    takes_or_says(Settings.from_block, block, named=("settings",))


@few
@given(st.lists(st.text(max_size=30), max_size=3) | st.lists(st.from_regex(r"[a-z]*\.[a-z]*=.*"), max_size=3))
def test_any_assignments(words: list[str]) -> None:
    takes_or_says(lambda: Settings.from_block(parse_assignments(words)), named=("--set", "settings"))


class TestPlans:
    @pytest.fixture
    def plans(self, stock_plans: dict[str, Any]) -> dict[str, Any]:
        return with_genotype(stock_plans, "2d", Genotype.random(seed=0, shape=CellShape(nodes=1)))

    @pytest.mark.parametrize("read", [configuration_of, genotype_of])
    def test_any_content(self, plans: dict[str, Any], read: Any) -> None:
        @few
        @given(jsons(plans["configurations"]))
        def check(configurations: Any) -> None:
            changed = {**plans, "configurations": configurations}
            takes_or_says(read, changed, "2d", named=("plans", "configuration", "genotype"))

        check()

    def test_any_content_is_derived_from_or_refused(self, plans: dict[str, Any]) -> None:
        @few
        @given(jsons(plans["configurations"]), jsons(BLOCK))
        def check(configurations: Any, block: Any) -> None:
            if isinstance(block, dict) and all(isinstance(section, dict) for section in block.values()):
                changed = {**plans, "configurations": configurations}
                takes_or_says(derive, changed, "2d", "new", block, named=("plans", "configuration", "settings"))

        check()

    def test_any_file(self, plans: dict[str, Any], tmp_path: Path) -> None:
        path = tmp_path / "nnUNetPlans.json"

        @few
        @given(files(dumped(plans)))
        def check(content: bytes) -> None:
            path.write_bytes(content)
            takes_or_says(read_plans, path, named=(path.name,))

        check()


@pytest.mark.parametrize(
    ("name", "valid", "read"),
    [("dataset.json", LABELS, read_label_set), ("splits_final.json", [{"train": ["a"], "val": ["b"]}], read_splits)],
)
def test_any_file_of_nnunet(tmp_path: Path, name: str, valid: Any, read: Any) -> None:
    path = tmp_path / name

    @few
    @given(files(dumped(valid)) | jsons(valid).map(dumped))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        takes_or_says(read, path, named=(name,))

    check()


def test_any_file_of_a_runs_state(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    write_state(path, {"seed": 0}, {"epoch": 3, "losses": [0.5]})

    @few
    @given(files(path.read_bytes()))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        takes_or_says(read_state, path, {"seed": 0}, named=(path.name,))

    check()


@few
@given(json_values)
def test_any_choice_of_a_source(record: Any) -> None:
    try:
        SourceChoice.from_dict(record)
    except (ValueError, TypeError) as error:
        assert str(error)
