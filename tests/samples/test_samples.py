"""What older versions of the package wrote is read by this one; every schema number has a sample of its own."""

from __future__ import annotations

import ast
import json
import lzma
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from writers import digest, label_gaussians, logits_of, small_probe

import nnunet_iac
from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.cells.network import CellUNet
from nnunet_iac.metaspace.space_entry import from_entry
from nnunet_iac.nnunet.files.hosts import read_checkpoint
from nnunet_iac.nnunet.files.plans import configuration_of, genotype_of, read_plans, with_genotype
from nnunet_iac.nnunet.files.run_state import read_state
from nnunet_iac.nnunet.files.settings import Settings
from nnunet_iac.nnunet.probe.probe import SETUP, held_out_limit, run_probe
from nnunet_iac.nnunet.retrieval.retrieved_trainer import RECORD, read_record
from nnunet_iac.nnunet.training.cell_search import mixed_cells, plan_of
from nnunet_iac.nnunet.training.host_source import FILE, load_host_source
from nnunet_iac.nnunet.training.last_good import RECORD as RESTORED
from nnunet_iac.nnunet.training.last_good import read_restoration
from nnunet_iac.nnunet.transfer.nearest_source import SourceChoice
from nnunet_iac.nnunet.zoo_entries.zoo_network import empty_network
from nnunet_iac.reports.result import read_result
from nnunet_iac.reports.trace import read_trace
from nnunet_iac.search import search
from nnunet_iac.search.state import load_state, unpack_stability
from nnunet_iac.similarity.index_file import load_index
from nnunet_iac.zoo import schema
from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify

SAMPLES = Path(__file__).parent
GOLDEN: dict[str, dict[str, Any]] = json.loads((SAMPLES / "golden.json").read_text(encoding="utf-8"))
PACKAGE = Path(nnunet_iac.__file__).parent
FILES = sorted(p.relative_to(SAMPLES).as_posix() for p in SAMPLES.glob("*/*") if re.match(r"\d+-", p.name))

FORMATS = {
    "cells/genotype": "genotype",
    "search/trace": "search_trace",
    "search/state": "search_state",
    "zoo/configuration": "subnet_configuration",
    "similarity/index_file": "source_index",
    "nnunet/files/run_state": "run_state",
    "nnunet/retrieval/retrieved_trainer": "retrieval",
    "nnunet/transfer/nearest_source": "source_choice",
    "nnunet/training/cell_search": "search_result",
    "nnunet/training/last_good": "restoration",
    "reports/documents": "search_result",
    "metaspace/space_entry": "meta_space",
    "nnunet/probe/probe_plan": "probe_setup",
}
"""Modules with a schema number and the format that it numbers."""

FOR_PEOPLE = {
    *("cells/transfer_report", "zoo/verification", "nnunet/supernets/supernet_audit", "cli/score", "cli/distance"),
    *("nnunet/probe/probe", "nnunet/retrieval/candidate_training", "demo/runner"),
}
"""Modules whose records people and scripts read; no reader of the package looks at the number."""

REFUSED = {
    # Other tensors for each edge and another rule of pruning: going on would be another search.
    "search_state/1": r"expected schema 2, got 1 in .*; search again without --c",
}
"""Samples that are not read any more, and how the reader says so."""


def schema_numbers() -> dict[str, int]:
    """Module to number: of each constant SCHEMA, and of each literal under the key "schema"."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SCHEMA":
                pairs = [(ast.Constant("schema"), node.value)]
            for key, value in pairs:
                if getattr(key, "value", "") == "schema" and isinstance(value, ast.Constant):
                    found[path.relative_to(PACKAGE).with_suffix("").as_posix()] = value.value
    return found


def test_every_schema_number_has_samples_of_all_its_values() -> None:
    numbers = schema_numbers()
    assert set(numbers) == {*FORMATS, *FOR_PEOPLE}, "a new format: add a writer, a reader and make.py's samples"
    wanted = {(FORMATS[module], n) for module in FORMATS for n in range(1, numbers[module] + 1)}
    wanted |= {("zoo", n) for n in range(1, len(schema.MIGRATIONS) + 1)}
    there = {(name.split("/")[0], int(name.split("/")[1].split("-")[0])) for name in FILES}
    assert not wanted - there, "run tests/samples/make.py before and after the number changes"


def test_samples_are_small_and_known() -> None:
    sizes = [(SAMPLES / name).stat().st_size for name in FILES]
    assert set(FILES) == set(GOLDEN) and {name.split("/")[0] for name in FILES} == set(READERS)
    assert max(sizes) < 50_000 and sum(sizes) < 400_000


@pytest.mark.parametrize("name", FILES)
def test_a_sample_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    form, number = name.split("/")[0], name.split("-")[0]
    path, known = unpacked(name, tmp_path), GOLDEN[name]
    if number in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[number]):
            READERS[form](path, known)
    else:
        READERS[form](path, known)


def unpacked(name: str, folder: Path) -> Path:
    """The file as it lay on a disk; of an archive the folder that it holds."""
    source = SAMPLES / name
    target = folder / source.name.removesuffix(".xz")
    target.write_bytes(lzma.decompress(source.read_bytes()) if source.suffix == ".xz" else source.read_bytes())
    if source.suffix == ".zip":
        zipfile.ZipFile(target).extractall(folder / "unpacked")
        return folder / "unpacked"
    return target


def beside(path: Path, form: str, folder: Path) -> Path:
    """Another sample of the commit that wrote this one."""
    commit = path.name.split("-")[1].split(".")[0]
    (name,) = (name for name in FILES if name.startswith(form + "/") and commit in name)
    return unpacked(name, folder)


def read_genotype(path: Path, known: dict[str, Any]) -> None:
    genotype = Genotype.from_dict(json.loads(path.read_text()))
    assert genotype.to_dict()["cells"] == known["cells"]
    assert genotype == Genotype.random(seed=known["seed"], shape=CellShape(nodes=2)), (
        "the controls of a seed are the same for ever"
    )


def read_plans_file(path: Path, known: dict[str, Any]) -> None:
    plans = read_plans(path)
    found = genotype_of(plans, "2d")
    block = Settings.from_block(configuration_of(plans, "2d")["iac"]).to_block()
    assert found is not None and found.to_dict()["cells"] == known["cells"]
    assert all(block[s][key] == value for s, values in known["settings"].items() for key, value in values.items())


def read_final_checkpoint(path: Path, known: dict[str, Any]) -> None:
    checkpoint = read_checkpoint(path)
    plans = checkpoint["init_args"]["plans"]
    assert plans == read_plans(beside(path, "plans", path.parent))
    assert logits_of(plans, checkpoint["network_weights"]) == pytest.approx(known["logits"], abs=1e-5)


def read_search_state(path: Path, known: dict[str, Any]) -> None:
    """The state fits the cells and the plan that today's code makes of the settings which were written with it."""
    identity = torch.load(path, weights_only=True)["identity"]
    state = load_state(path, identity)
    plans = with_genotype(read_plans(beside(path, "plans", path.parent)), "2d", Genotype.identity())
    planned = configuration_of(plans, "2d")
    settings = Settings.from_block(planned["iac"])
    network = empty_network(planned["architecture"], 1, 3)
    assert isinstance(network, CellUNet)
    cells = mixed_cells(network, settings, torch.device("cpu"))
    cells.load_state_dict(state["network"])
    assert (digest(cells.architecture.alpha), state["epoch"]) == (known["alpha"], known["epoch"])
    unpack_stability(state["stability"])
    today = search._plan_identity(plan_of(settings, None))
    assert {key: identity.get(key) for key in today} == today, "a killed search of that version goes on"


def read_search_trace(path: Path, known: dict[str, Any]) -> None:
    trace = read_trace(path)
    assert trace is not None and (trace.damaged_lines, len(trace.epochs)) == (0, known["epochs"])
    assert trace.weight_loss[-1] == pytest.approx(known["loss"])


def read_search_result(path: Path, known: dict[str, Any]) -> None:
    result = read_result(path)
    assert result.genotype is not None and result.genotype.to_dict()["cells"] == known["cells"]
    assert result.epochs == known["epochs"]


def read_host_source(path: Path, known: dict[str, Any]) -> None:
    path.rename(path.with_name(FILE))
    source = load_host_source(path.parent)
    assert all(getattr(source, name) == value for name, value in known.items() if name != "schema")


def read_configuration(path: Path, known: dict[str, Any]) -> None:
    found = SubnetConfiguration.from_dict(json.loads(path.read_text())).to_dict()
    assert found == known


def read_index(path: Path, known: dict[str, Any]) -> None:
    matches = load_index(path).search(label_gaussians(1.2), top=3).matches
    assert [match.key for match in matches] == known["keys"]
    assert [match.distance for match in matches] == pytest.approx(known["distances"], abs=1e-5)


def read_zoo(path: Path, known: dict[str, Any]) -> None:
    zoo = Zoo(path)
    (entry,) = zoo.entries()
    assert entry.id == known["id"] and verify(zoo).is_fine
    assert sum(float(tensor.sum()) for tensor in zoo.read_weights(entry).values()) == known["sum"]
    with schema.connected(path / schema.FILE) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(schema.MIGRATIONS)


def read_meta_space(path: Path, known: dict[str, Any]) -> None:
    zoo = Zoo(path)
    entry = zoo.entry(known["id"])
    space = from_entry(entry, zoo.read_weights(entry))
    assert list(space.tasks) == known["tasks"]
    assert space.embeddings.flatten().tolist()[:8] == pytest.approx(known["embeddings"], abs=1e-5)


def read_run_state(path: Path, known: dict[str, Any]) -> None:
    state = read_state(path, known["identity"])
    assert state is not None and (state["epoch"], state["weights"]["w"].tolist()) == (known["epoch"], known["w"])


def read_retrieval(path: Path, known: dict[str, Any]) -> None:
    path.rename(path.with_name(RECORD))
    assert read_record(path.parent).items() >= known.items()


def read_choice(path: Path, known: dict[str, Any]) -> None:
    assert SourceChoice.from_dict(json.loads(path.read_text())).to_dict().items() >= known.items()


def read_restored(path: Path, known: dict[str, Any]) -> None:
    path.rename(path.with_name(RESTORED))
    found = read_restoration(path.parent)
    assert found is not None and {"schema": 1, **asdict(found)} == known


def read_probe_setup(path: Path, known: dict[str, Any]) -> None:
    """The same command goes on in the folder; it is refused where anything that the trainings share differs."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        Path("probe").mkdir()
        path.rename(Path("probe") / SETUP)
        assert held_out_limit(Path("probe"), None) == known["held_out"]
        run_probe(small_probe(held_out=known["held_out"]), (), (), device=torch.device("cpu"), say=print)
        with pytest.raises(ValueError, match="-o: expected the budget that"):
            run_probe(small_probe(held_out=7), (), (), device=torch.device("cpu"), say=print)
    finally:
        os.chdir(before)


READERS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "genotype": read_genotype,
    "plans": read_plans_file,
    "checkpoint": read_final_checkpoint,
    "search_state": read_search_state,
    "search_trace": read_search_trace,
    "search_result": read_search_result,
    "host_source": read_host_source,
    "subnet_configuration": read_configuration,
    "source_index": read_index,
    "zoo": read_zoo,
    "meta_space": read_meta_space,
    "run_state": read_run_state,
    "retrieval": read_retrieval,
    "source_choice": read_choice,
    "restoration": read_restored,
    "probe_setup": read_probe_setup,
}
