"""Bad inputs that torch reads: checkpoints and states; and whole trainings from bad plans and hosts."""

from __future__ import annotations

import json
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bad_input_cases import PRETRAIN, TRANSFER, Case, Prepare, changed, put, written
from bad_input_world import CHECKPOINT, HOST, PREPARED, SEARCHED

STATE = f"{SEARCHED}/fold_0/search_state.pt"
RUN_STATE = "out/p/pretraining_state.pt"
SEARCHES = f"zoo add --searches --zoo {{}}/new {{}}/{SEARCHED}/fold_0"
TRAIN = "nnUNetv2_train 990 2d 0 -device cpu -tr"


class Trap:
    """A pickle of this makes a file when it is read by what runs pickles."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.target}'",)


def _torch_damages(name: str, draw: random.Random) -> Iterator[tuple[str, Prepare]]:  # noqa: C901 - a list of cases
    def healthy(base: Path) -> Path:
        if not (base / name).exists():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            torch.save({"schema": 2, "identity": {}, "network": {"w": torch.ones(2000)}}, base / name)
        return base / name

    def cut(share: float) -> Prepare:
        return lambda base: os.truncate(healthy(base), int(share * healthy(base).stat().st_size))

    def flip(share: float) -> Prepare:
        def prepare(base: Path) -> None:
            with zipfile.ZipFile(healthy(base)) as archive:
                members = [one for one in archive.infolist() if one.file_size]
                one = members[int(share * len(members))]
                data = archive.read(one)
            content = bytearray(healthy(base).read_bytes())
            start = content.index(data, one.header_offset)
            content[start + int(share * len(data))] ^= 1 << 3
            healthy(base).write_bytes(bytes(content))

        return prepare

    def save(make: Callable[[Path], Any], **how: Any) -> Prepare:
        def prepare(base: Path) -> None:
            torch.save(make(base), healthy(base), **how)

        return prepare

    def bomb(base: Path) -> None:
        with zipfile.ZipFile(healthy(base), "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data/999", bytes(100 << 20))

    yield "empty", written(name, b"")
    yield "text", written(name, b"weights\n")
    yield "JSON", written(name, b'{"network_weights": {}}')
    yield "zeros", written(name, bytes(4096))
    yield "an empty ZIP", written(name, b"PK\5\6" + bytes(18))
    for share in (0.02, 0.3, 0.6, 0.9, 0.999):
        yield f"cut at {share:.1%}", cut(share)
    for part in range(6):
        yield f"a bit flipped, place {part}", flip((part + draw.random() * 0.8) / 7 + 0.02)
    yield "a pickle that runs a command", save(lambda base: {"network_weights": {}, "x": Trap(base / "trap")})
    yield (
        "an old pickle that runs a command",
        save(lambda base: Trap(base / "trap"), _use_new_zipfile_serialization=False),
    )
    yield "a list", save(lambda base: [1, 2])
    yield "schema of tomorrow", save(lambda base: {"schema": 99, "identity": "{}", "network_weights": 3})
    yield "weights of text", save(lambda base: {"schema": 2, "identity": 3, "network_weights": {"a": "b"}})
    yield (
        "a tensor that claims a terabyte",
        save(lambda base: {"network_weights": {"w": torch.ones(1).expand(1 << 40)}, "schema": 2, "identity": [1]}),
    )
    yield "a bomb", bomb


def checkpoint_cases(draw: random.Random) -> Iterator[Case]:
    """Yield checkpoints."""
    name = Path(CHECKPOINT).name
    for what, prepare in _torch_damages(CHECKPOINT, draw):
        yield Case("checkpoints", what, TRANSFER, (name,), prepare)
    trap = dict(_torch_damages(CHECKPOINT, draw))["a pickle that runs a command"]
    for line in (
        f"score {{}}/{CHECKPOINT} -d 990 -c 2d",
        f"select {{}}/{CHECKPOINT} -d 990 -c 2d",
        f"distance -d 990 -s 991 --encoder {{}}/{CHECKPOINT}",
        f"zoo add --zoo {{}}/new {{}}/{HOST}",
        f"zoo build --zoo {{}}/new -d 990 -c 2d -f 0 --host {{}}/{CHECKPOINT} -o {{}}/out/build",
    ):
        yield Case("checkpoints", f"a trap for {line[:9].strip()}", line, (name,), trap)
    changes: dict[str, Callable[[Any], Any]] = {
        "plans a number": put("init_args", "plans", value=3),
        "no plans": put("init_args", value={}),
        "unknown configuration": put("init_args", "configuration", value="4d"),
        "configuration a list": put("init_args", "configuration", value=["2d"]),
        "plans' network runs": put(
            "init_args", "plans", "configurations", "2d", "architecture", "network_class_name", value="os.system"
        ),
        "plans' module runs": put(
            "init_args", "plans", "configurations", "2d", "architecture", "arch_kwargs", "norm_op", value="os.system"
        ),
        "plans of a billion features": put(
            *("init_args", "plans", "configurations", "2d", "architecture", "arch_kwargs", "features_per_stage"),
            value=[10**9] * 3,
        ),
        "NaN": lambda content: next(iter(content["network_weights"].values())).fill_(float("nan")) is None,
        "a tensor missing": lambda content: content["network_weights"].pop("decoder.seg_layers.0.weight") is None,
        "a tensor of another shape": put("network_weights", "decoder.seg_layers.0.weight", value=torch.ones(3)),
        "no weights": put("network_weights", value={}),
        "names of numbers": put("network_weights", value={3: torch.ones(1)}),
    }
    for what, change in changes.items():

        def prepare(base: Path, change: Callable[[Any], Any] = change) -> None:
            content = torch.load(base / CHECKPOINT, weights_only=True)
            change(content)
            torch.save(content, base / CHECKPOINT)

        yield Case("checkpoints", what, TRANSFER, (name, "backbone", "plans:"), prepare)


def state_cases(draw: random.Random) -> Iterator[Case]:
    """Yield states of searches and of other long runs."""
    for what, prepare in _torch_damages(STATE, draw):
        yield Case("search state", what, SEARCHES, ("search_state.pt",), prepare)
    for what, prepare in _torch_damages(RUN_STATE, draw):
        yield Case("run state", what, f"{PRETRAIN} --c", ("pretraining_state.pt",), prepare)


def trainer_cases(draw: random.Random) -> Iterator[Case]:
    """Yield trainings."""
    flat = ("configurations", "2d")
    plans = f"{PREPARED}/nnUNetPlans.json"
    genotype = json.dumps({"2d": {"schema": 99}})
    yield Case(
        "trainers",
        "bad settings",
        f"{TRAIN} nnUNetTrainerIAC",
        ("settings",),
        changed(plans, put(*flat, "iac", value={"search": {"epochs": 0}})),
    )
    yield Case(
        "trainers",
        "patch of text",
        f"{TRAIN} nnUNetTrainerIAC",
        ("plans",),
        changed(plans, put(*flat, "patch_size", value="a")),
    )
    yield Case(
        "trainers",
        "a baseline's unknown host",
        f"{TRAIN} nnUNetTrainerDenseSkips",
        ("backbone",),
        changed(plans, put(*flat, "architecture", "network_class_name", value="os.system")),
    )
    yield Case(
        "trainers", "genotype of tomorrow", f"{TRAIN} nnUNetTrainerIACRandom", ("genotype",),
        written("results/Dataset990_Tiny/nnUNetTrainerIACRandom__nnUNetPlans__2d/genotype.json", genotype),
    )  # fmt: skip
    trap = dict(_torch_damages(CHECKPOINT, draw))["a pickle that runs a command"]
    yield Case("trainers", "a trap as host", f"{TRAIN} nnUNetTrainerIACImplant", ("checkpoint_final.pth",), trap)
