"""Bad inputs that are text: JSON files, settings, names."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bad_input_cases import ADD, COMPARE, CONFIGURE, REPORT, SCORE, TRANSFER, Case, changed, put, written
from bad_input_world import CHECKPOINT, HOST, PREPARED, SEARCHED


def text_cases(draw: random.Random) -> Iterator[Case]:
    """Yield all cases."""
    yield from _json_cases(draw)
    yield from _plans_cases()
    yield from _genotype_cases()
    yield from _settings_cases()
    yield from _content_cases()
    yield from _trace_cases()
    yield from _name_cases()


# --- every JSON file that a command reads ---------------------------------------------------------------------------

_FILES = (
    ("plans files", f"{PREPARED}/nnUNetPlans.json", CONFIGURE),
    ("dataset.json", f"{PREPARED}/dataset.json", SCORE),
    ("splits_final.json", f"{PREPARED}/splits_final.json", f"{SCORE} -f 0"),
    ("patient_groups.json", "raw/Dataset990_Tiny/patient_groups.json", COMPARE),
    ("genotypes", f"{SEARCHED}/genotype.json", f"zoo add --zoo {{}}/new {{}}/{SEARCHED}/fold_0"),
    ("search results", f"{SEARCHED}/fold_0/search_result.json", REPORT),
    ("validations", f"{SEARCHED}/fold_0/validation/summary.json", REPORT),
    ("host records", f"{SEARCHED}/fold_0/host.json", REPORT),
    ("models' plans", f"{SEARCHED}/plans.json", REPORT),
    ("models' dataset.json", f"{HOST}/dataset.json", COMPARE),
    ("source plans", "out/source.json", f"{TRANSFER} --source-plans {{}}/out/source.json --source-configuration 2d"),
)


def _json_cases(draw: random.Random) -> Iterator[Case]:
    for kind, name, line in _FILES:
        for what, content in _damages(draw):

            def prepare(base: Path, name: str = name, content: bytes | float = content) -> None:
                path = base / name
                if isinstance(content, float):
                    path.write_bytes(path.read_bytes()[: int(content * path.stat().st_size)] if path.exists() else b"{")
                else:
                    path.write_bytes(content)
                if "genotype" in name:  # the fold needs weights, or nothing is looked at
                    (base / CHECKPOINT).rename(base / SEARCHED / "fold_0" / "checkpoint_final.pth")

            yield Case(kind, what, line, (Path(name).name,), prepare)


def _damages(draw: random.Random) -> Iterator[tuple[str, bytes | float]]:
    yield "empty", b""
    yield "text", b"not JSON at all"
    yield "cut", draw.uniform(0.2, 0.9)
    yield "zeros", bytes(100)
    yield "not UTF-8", b'{"a": "\xff\xfe"}'
    yield "UTF-16", '{"a": 1}'.encode("utf-16")
    yield "nested 100000 deep", b"[" * 100_000 + b"]" * 100_000
    yield "nested 500 deep", b'{"configurations": ' * 500 + b"1" + b"}" * 500
    yield "number of 10000 digits", b"1" * 10_000
    yield "a number", b"17"
    yield "a text", b'"plans"'


# --- plans, genotypes, settings -------------------------------------------------------------------------------------


def _plans_cases() -> Iterator[Case]:
    flat = ("configurations", "2d")
    architecture, arguments = (*flat, "architecture"), (*flat, "architecture", "arch_kwargs")
    changes: dict[str, Callable[[Any], Any]] = {
        "no configurations": lambda plans: plans.pop("configurations") and None,
        "configurations a list": put("configurations", value=[1]),
        "configuration a number": put(*flat, value=3),
        "configuration empty": put(*flat, value={}),
        "name a number": put("plans_name", value=3),
        "data set a list": put("dataset_name", value=["a"]),
        "patch of text": put(*flat, "patch_size", value="16x16"),
        "patch of zero": put(*flat, "patch_size", value=[16, 0]),
        "patch negative": put(*flat, "patch_size", value=[-16, 16]),
        "patch in 4D": put(*flat, "patch_size", value=[16] * 4),
        "patch huge": put(*flat, "patch_size", value=[10**12, 10**12]),
        "batch of zero": put(*flat, "batch_size", value=0),
        "batch of half": put(*flat, "batch_size", value=1.5),
        "spacing NaN": put(*flat, "spacing", value=[float("nan"), 1.0]),
        "spacing null": put(*flat, "spacing", value=None),
        "data in another folder": put(*flat, "data_identifier", value="../../../etc"),
        "data in the root": put(*flat, "data_identifier", value="/etc"),
        "iac a list": put(*flat, "iac", value=[]),
        "iac unknown section": put(*flat, "iac", value={"serach": {}}),
        "iac section a text": put(*flat, "iac", value={"search": "long"}),
        "iac wrong value": put(*flat, "iac", value={"search": {"epochs": -3}}),
        "inherits from itself": put(*flat, "inherits_from", value="2d"),
        "inherits from nothing": put(*flat, "inherits_from", value="none"),
        "no architecture": lambda plans: plans["configurations"]["2d"].pop("architecture") and None,
        "architecture null": put(*architecture, value=None),
        "network a number": put(*architecture, "network_class_name", value=7),
        "imports a text": put(*architecture, "_kw_requires_import", value="conv_op"),
        "no stages": lambda plans: (
            plans["configurations"]["2d"]["architecture"]["arch_kwargs"].pop("n_stages") and None
        ),
        "stages a text": put(*arguments, "n_stages", value="three"),
        "a billion stages": put(*arguments, "n_stages", value=10**9),
        "features negative": put(*arguments, "features_per_stage", value=[-4, 8, 16]),
        "strides null": put(*arguments, "strides", value=None),
    }
    for name, change in changes.items():
        yield Case(
            "plans files", name, CONFIGURE, ("plans:", "settings:"), changed(f"{PREPARED}/nnUNetPlans.json", change)
        )
    for name, network in (("a network that runs", "os.system"), ("a network of strangers", "evil.Net")):
        change = put(*architecture, "network_class_name", value=network)
        yield Case(
            "plans files", name, TRANSFER, ("backbone", "plans"), changed(f"{PREPARED}/nnUNetPlans.json", change)
        )


def _genotype_cases() -> Iterator[Case]:
    changes: dict[str, Callable[[Any], Any]] = {
        "schema of tomorrow": put("schema", value=99),
        "no schema": lambda genotype: genotype.pop("schema") and None,
        "unknown kind": put("kind", value="magic"),
        "kind a list": put("kind", value=[]),
        "nodes of text": put("nodes", value="4"),
        "a million nodes": put("nodes", value=10**6),
        "width NaN": put("width", value=float("nan")),
        "cells a number": put("cells", value=4),
        "no cells": put("cells", value=[]),
        "unknown operation": put("cells", 0, 0, 0, 0, value="rm_rf"),
        "operation a list": put("cells", 0, 0, 0, 0, value=[]),
        "input from the future": put("cells", 0, 0, 0, 1, value=99),
        "negative input": put("cells", 0, 0, 0, 1, value=-1),
        "edge of three": put("cells", 0, 0, 0, value=["skip_connect", 0, 1]),
        "unknown key": put("command", value="x"),
        "origin a text": put("origin", value="a search"),
    }
    for name, change in changes.items():

        def of_result(record: Any, change: Callable[[Any], Any] = change) -> None:
            change(record["genotype"])

        yield Case(
            "genotypes", name, REPORT, ("genotype",), changed(f"{SEARCHED}/fold_0/search_result.json", of_result)
        )


def _settings_cases() -> Iterator[Case]:
    assignments = (
        *("search.epochs=-1", "search.epochs=1.5", "search.epochs=many", "search.epochs=1e99", "search.epochs=true"),
        *("search.epochs=", "search.epoch=3", "serach.epochs=3", "epochs=3", "search.=3", ".epochs=3", "search.epochs"),
        *("search.tau=NaN", "search.tau=Infinity", "search.tau=[]", "search.warmup_epochs=10000", "cell.nodes=0"),
        *("cell.nodes=1000", "cell.width=2", "cell.second_input=nowhere", "training.epochs=null", "search.seed=-1"),
        "search.epochs=" + "9" * 5000,
        "search.epochs=" + "[" * 100_000,
        'search.host={"a": 1}',
        "search.fraction=1e400",
    )
    for text in assignments:
        shown = text if len(text) < 40 else f"{text[:20]}… ({len(text)} characters)"
        yield Case("settings", shown, f"{CONFIGURE} --set", ("--set", "settings:"), more=(text,))
    for name, line in (
        ("batch of one", f"{CONFIGURE} --batch-size 1"),
        ("batch of text", f"{CONFIGURE} --batch-size two"),
        ("patch of zero", f"{CONFIGURE} --patch-size 0 0"),
        ("patch that strides do not divide", f"{CONFIGURE} --patch-size 17 17"),
        ("patch in 3D", f"{CONFIGURE} --patch-size 16 16 16"),
        ("unknown configuration", "configure -d 990 -c 4d -o new"),
        ("onto the source", "configure -d 990 -c 2d -o nnUNetPlans --overwrite"),
        ("fold of text", f"{SCORE} -f first"),
        ("fold too high", f"{SCORE} -f 99"),
        ("no images", "score random -d 990 -c 2d --images 0"),
        ("level too deep", f"{SCORE} --level 99"),
        ("margin NaN", f"compare {{}}/{HOST} {{}}/{SEARCHED} --margin nan"),
    ):
        yield Case("settings", name, line, ("-", "patch size", "level", "images", "configuration"))


# --- values inside JSON files that nnU-Net and people write ---------------------------------------------------------


def _content_cases() -> Iterator[Case]:
    dataset, splits = f"{PREPARED}/dataset.json", f"{PREPARED}/splits_final.json"
    groups = "raw/Dataset990_Tiny/patient_groups.json"
    for name, change in {
        "no labels": lambda content: content.pop("labels") and None,
        "labels a list": put("labels", value=["a"]),
        "label of text": put("labels", value={"background": 0, "a": "one"}),
        "label null": put("labels", "shell", value=None),
        "label of half": put("labels", "shell", value=1.5),
    }.items():
        yield Case("dataset.json", name, SCORE, ("dataset.json",), changed(dataset, change))
    for name, content in {
        "folds of numbers": [1, 2],
        "no validation": [{"train": ["case1"]}],
        "cases of numbers": [{"train": [1], "val": [2]}],
        "no folds": [],
        "unknown cases": [{"train": ["x"], "val": ["y"]}],
        "cases elsewhere": [{"train": ["../../../etc/passwd"], "val": []}],
    }.items():
        prepare = written(splits, json.dumps(content))
        yield Case("splits_final.json", name, f"{SCORE} -f 0", ("splits_final.json", "-f"), prepare)
    for name, content in {
        "cases of numbers": {"a": [1]},
        "members a text": {"a": "p0_a"},
        "one case twice": {"a": ["p0_a"], "b": ["p0_a"]},
    }.items():
        yield Case("patient_groups.json", name, COMPARE, ("patient_groups.json",), written(groups, json.dumps(content)))
    result = f"{SEARCHED}/fold_0/search_result.json"
    for name, change in {
        "schema of tomorrow": put("schema", value=2),
        "status unknown": put("status", value="splendid"),
        "epochs of text": put("epochs", value="three"),
        "seconds null": put("seconds", value=None),
        "no keys": lambda record: {"schema": 1},
        "epochs infinite": put("epochs", value=float("inf")),
    }.items():
        yield Case("search results", name, REPORT, ("search_result.json",), changed(result, change))
    summary = f"{SEARCHED}/fold_0/validation/summary.json"
    for name, change in {
        "no cases": lambda record: record.pop("metric_per_case") and None,
        "cases a number": put("metric_per_case", value=3),
        "Dice of text": put("metric_per_case", 0, "metrics", "1", "Dice", value="good"),
        "mean a list": put("foreground_mean", value=[]),
        "metrics null": put("metric_per_case", 0, "metrics", value=None),
        "Dice a list": put("metric_per_case", 0, "metrics", "1", "Dice", value=[1]),
    }.items():
        yield Case("validations", name, REPORT, ("summary.json",), changed(summary, change))


def _trace_cases() -> Iterator[Case]:
    changes: dict[str, Callable[[Any], Any]] = {
        "schema of tomorrow": put("schema", value=2),
        "epoch of text": put("epoch", value="0"),
        "no mask": lambda line: line.pop("mask") and None,
        "probabilities of text": put("probabilities", value="p"),
        "probabilities ragged": put("probabilities", 0, 0, value=[1]),
        "one edge too few": put("mask", value=[[[1] * 8] * 13]),
        "pruned a number": put("pruned", value=3),
        "pruned nobody": put("pruned", value=[[0, 0, "nobody"]]),
        "pruned a list": put("pruned", value=[[[], 0, "none"]]),
        "seconds of text": put("seconds", value="fast"),
        "loss a list": put("weight_loss", value=[1, 2]),
        "epoch enormous": put("epoch", value=10**30),
        "operations infinite": put("active_operations", value=float("inf")),
        "edges null": put("edge_weights", value=None),
    }
    for name, change in changes.items():

        def prepare(base: Path, change: Callable[[Any], Any] = change) -> None:
            path = base / SEARCHED / "fold_0" / "search.jsonl"
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            change(lines[-1])
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

        yield Case("search traces", name, REPORT, ("search.jsonl",), prepare)


# --- names that become files ----------------------------------------------------------------------------------------

_NAMES = {
    "300 characters": "a" * 300,
    "line break": "a\nb",
    "NUL": "a\0b",
    "escape": "a\x1b[31mb",
    "slash": "../outside/a",
    "folder that is none": "{}/none/a",
}

_PLANS_NAMES = {
    **{name: text for name, text in _NAMES.items() if not name.startswith("folder")},
    **{"double quote": 'a"b', "quote": "a'b", "backslash": "a\\b", "empty": "", "dot": ".hidden", "two dots": ".."},
    **{"two underscores": "a__b", "blank": "a b", "dollar": "$(touch trap)", "absolute": "{}/out/a"},
}


def _name_cases() -> Iterator[Case]:
    for name, text in _PLANS_NAMES.items():
        line = re.sub(r" -o new", "", CONFIGURE)
        yield Case(
            "names", f"configure -o: {name}", line, ("-o", "plans name"), more=(f"-o={text}" if text else "-o=",)
        )
    retrieve = "retrieve -d 990 -c 2d --zoo {}/zoo"
    for name in ("300 characters", "line break", "slash", "quote", "two underscores"):
        yield Case("names", f"retrieve -o: {name}", retrieve, ("-o", "zoo"), more=(f"-o={_PLANS_NAMES[name]}",))
    files = (
        ("transfer -o", f"transfer --from {{}}/{CHECKPOINT} -d 990 -c 2d", "-o", ".pth"),
        ("report -o", f"report {{}}/{SEARCHED}", "-o", ".html"),
        ("score --json", SCORE, "--json", ".json"),
        ("distance --png", "distance -d 990 -s 991 --images 2", "--png", ".png"),
    )
    for what, line, option, ending in files:
        for name, text in _NAMES.items():
            yield Case("names", f"{what}: {name}", line, ("-o", "--json", "--png"), more=(f"{option}={text}{ending}",))
    for name in ("300 characters", "line break", "NUL"):
        yield Case(
            "names", f"zoo add --zoo: {name}", f"zoo add {{}}/{HOST}", ("--zoo",), more=(f"--zoo={_NAMES[name]}",)
        )
    for name in ("line break", "NUL", "escape"):
        more = (f"--name={_NAMES[name]}",)
        yield Case("names", f"zoo add --name: {name}", ADD, ("name",), more=more)
        yield Case("names", f"compare --names: {name}", COMPARE, ("--names",), more=("--names", _NAMES[name], "b"))
    for name in ("300 characters", "line break", "NUL", "slash", "quote"):
        text = _PLANS_NAMES[name]
        words = (f"-d=Dataset990_{text}", "-c=2d", "-o=new")
        yield Case("names", f"-d: {name}", "configure", ("-d", "plans"), more=words)
        yield Case("names", f"-p: {name}", CONFIGURE, ("plans", "-p"), more=(f"-p={text}",))
        yield Case("names", f"-c: {name}", "configure -d 990 -o new", ("-c",), more=(f"-c={text}",))
    for number in ("99999", "-1", "1e3", "990; rm -rf /", ""):
        yield Case("names", f"-d {number!r}", "configure -c 2d -o new", ("-d",), more=(f"-d={number}",))
