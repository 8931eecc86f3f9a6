"""Plans of one name keep one budget, whichever script of a study derives them."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nnunet_folders import DATASET, Folders
from prepared_datasets import write_prepared

from nnunet_iac.nnunet.files.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))


def derive(script: str, budget: list[str]) -> None:
    """Let a script derive plans of this budget."""
    module: Any = importlib.import_module(script)
    known = {"dataset": DATASET, "configuration": "2d", "plans": "nnUNetPlans", "tag": "t", "budget": budget}
    if script == "bench_pretraining":
        module._write_plans(SimpleNamespace(**known, batch_size=2, patch_size=[16, 16]), ("none", 0))
    elif script == "transfer_study":
        more = {"fold": 0, "zoo": "z", "sources": [], "seeds": [0], "transfer": [], "batch_size": 2}
        module.Study(**known, **more, patch_size=None).write_plans(module.SCRATCH, 0)
    else:
        known["plans_name"] = lambda run: f"nnUNetPlans_t_seed{run[2]}"
        module.write_plans(SimpleNamespace(**known, batch_size=2, patch_sizes={}), DATASET, 0)


@pytest.mark.parametrize("script", ["transfer_study", "bench_pretraining", "retrieval_dice_study"])
def test_another_budget_under_the_same_tag_is_refused(folders: Folders, stock_plans: Any, script: str) -> None:
    write_prepared(folders, stock_plans)
    derive(script, ["host.epochs=3"])
    written = {path.name: path.read_bytes() for path in folders.preprocessed.glob("nnUNetPlans_t*.json")}
    derive(script, ["host.epochs=3"])

    with pytest.raises(SystemExit, match="finished and new trainings would be mixed"):
        derive(script, ["host.epochs=4"])

    # Every setting written out, as the papers' matrix does it, by a version whose retrieval had another default.
    path = next(folders.preprocessed.glob("nnUNetPlans_t*.json"))
    plans = json.loads(path.read_text())
    block = Settings.from_block(plans["configurations"]["2d"]["iac"]).to_block()
    plans["configurations"]["2d"]["iac"] = {**block, "retrieval": {**block["retrieval"], "protocol": "T1"}}
    path.write_text(json.dumps(plans))
    derive(script, ["host.epochs=3"])
    path.write_bytes(written[path.name])

    assert len(written) == 1
    assert {path.name: path.read_bytes() for path in folders.preprocessed.glob("nnUNetPlans_t*.json")} == written
