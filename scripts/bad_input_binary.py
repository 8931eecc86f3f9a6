"""The catalogue of bad inputs that are binary: checkpoints, states, zoos, archives, images; and whole trainings."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import sqlite3
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from bad_input_cases import COMPARE, PRETRAIN, SCORE, TRANSFER, Case, Prepare, changed, put, written
from bad_input_world import CHECKPOINT, HOST, PREPARED, SEARCHED
from PIL import Image

STATE = f"{SEARCHED}/fold_0/search_state.pt"
RUN_STATE = "out/p/pretraining_state.pt"
SEARCHES = f"zoo add --searches --zoo {{}}/new {{}}/{SEARCHED}/fold_0"
MASK = f"{HOST}/fold_0/validation/p0_a.nii.gz"
IMPORT = "zoo import --zoo {}/new {}/out/archive"
TRAIN = "nnUNetv2_train 990 2d 0 -device cpu -tr"


class Trap:
    """A pickle of this makes a file when it is read by what runs pickles."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.target}'",)


def binary_cases(draw: random.Random) -> Iterator[Case]:
    """Yield all cases."""
    yield from _checkpoint_cases(draw)
    yield from _state_cases(draw)
    yield from _zoo_cases(draw)
    yield from _archive_cases()
    yield from _image_cases()
    yield from _prepared_cases(draw)
    yield from _trainer_cases(draw)


# --- files of torch.save --------------------------------------------------------------------------------------------


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


def _checkpoint_cases(draw: random.Random) -> Iterator[Case]:
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


def _state_cases(draw: random.Random) -> Iterator[Case]:
    for what, prepare in _torch_damages(STATE, draw):
        yield Case("search state", what, SEARCHES, ("search_state.pt",), prepare)
    for what, prepare in _torch_damages(RUN_STATE, draw):
        yield Case("run state", what, f"{PRETRAIN} --c", ("pretraining_state.pt",), prepare)


# --- zoos -----------------------------------------------------------------------------------------------------------


def _sql(*statements: str) -> Prepare:
    def prepare(base: Path) -> None:
        with closing(sqlite3.connect(base / "zoo" / "zoo.sqlite", isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    return prepare


def _weights(base: Path) -> list[Path]:
    return sorted((base / "zoo" / "weights").glob("*.safetensors"))


def _zoo_cases(draw: random.Random) -> Iterator[Case]:
    index = "zoo/zoo.sqlite"
    share = draw.uniform(0.2, 0.8)

    def cut(base: Path) -> None:
        os.truncate(base / index, int(share * (base / index).stat().st_size))

    def scribble(base: Path) -> None:
        content = bytearray((base / index).read_bytes())
        content[4096:8192] = random.Random(share).randbytes(4096)
        (base / index).write_bytes(bytes(content))

    foreign = _sql("PRAGMA application_id = 7")
    damages: dict[str, Prepare] = {
        "empty": written(index, b""),
        "text": written(index, "select everything"),
        "zeros": written(index, bytes(8192)),
        "cut": cut,
        "scribbled over": scribble,
        "schema of tomorrow": _sql("PRAGMA user_version = 99"),
        "of another program": foreign,
        "no table": _sql("DROP TABLE entries"),
        "another table": _sql("DROP TABLE entries", "CREATE TABLE entries (id TEXT)"),
        "record no JSON": _sql("UPDATE entries SET record = '{'"),
        "record a BLOB": _sql("UPDATE entries SET record = x'00ff'"),
        "record of another": _sql("UPDATE entries SET digest = 'a'"),
        "columns tampered": _sql("UPDATE entries SET dataset = 'Dataset027_ACDC'"),
        "a folder": lambda base: ((base / index).unlink(), (base / index).mkdir()) and None,
    }
    for name, prepare in damages.items():
        yield Case("zoo index", f"{name}: list", "zoo list --zoo {}/zoo", ("zoo",), prepare)
        yield Case("zoo index", f"{name}: retrieve", "retrieve -d 990 -c 2d --zoo {}/zoo", ("zoo",), prepare)
        yield Case("zoo index", f"{name}: import", "zoo import --zoo {}/new {}/zoo", ("zoo",), prepare)
    yield from _entry_cases(draw)


def _entry_cases(draw: random.Random) -> Iterator[Case]:
    place = draw.random()

    def changed_weights(change: Callable[[bytes], bytes]) -> Prepare:
        def prepare(base: Path) -> None:
            for path in _weights(base):
                path.write_bytes(change(path.read_bytes()))

        return prepare

    def flip(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    damages: dict[str, Prepare] = {
        "empty": changed_weights(lambda content: b""),
        "cut": changed_weights(lambda content: content[: len(content) // 2]),
        "a bit flipped": changed_weights(flip),
        "a byte more": changed_weights(lambda content: content + b"\0"),
        "header of an exabyte": changed_weights(lambda content: struct.pack("<Q", 1 << 60) + content[8:]),
        "another's": changed_weights(lambda content: b"\x02\0\0\0\0\0\0\0{}"),
        "missing": lambda base: [path.unlink() for path in _weights(base)] and None,
        "a link out of the zoo": lambda base: (
            [(path.unlink(), path.symlink_to("/etc/passwd")) for path in _weights(base)] and None
        ),
    }
    for name, prepare in damages.items():
        yield Case("zoo weights", f"{name}: verify", "zoo verify --zoo {}/zoo", ("",), prepare)
        yield Case("zoo weights", f"{name}: import", "zoo import --zoo {}/new {}/zoo", ("weights",), prepare)
        yield Case("zoo weights", f"{name}: export", "zoo export --zoo {}/zoo -o {}/out/a.zip", ("weights",), prepare)
    forged = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}'
    for name, content in {
        "shape larger than its data": struct.pack("<Q", len(forged)) + forged + bytes(4),
        "no header": struct.pack("<Q", 2) + b"{}",
        "header no JSON": struct.pack("<Q", 4) + b"{{{{",
    }.items():
        prepare = changed_weights(lambda _, content=content: content)
        yield Case("zoo weights", f"forged: {name}", "zoo import --zoo {}/new {}/zoo", ("weights",), prepare)


def _archive_cases() -> Iterator[Case]:  # noqa: C901 - a list of cases
    def zipped(*members: tuple[str, bytes], mode: int = 0, packing: int = zipfile.ZIP_STORED) -> Prepare:
        def prepare(base: Path) -> None:
            with zipfile.ZipFile(base / "out" / "archive.zip", "w", packing) as archive:
                for name, content in members:
                    info = zipfile.ZipInfo(name)
                    info.external_attr, info.compress_type = mode << 16, packing
                    archive.writestr(info, content)

        return prepare

    def tarred(*members: tuple[str, bytes, str]) -> Prepare:
        def prepare(base: Path) -> None:
            with tarfile.open(base / "out" / "archive.tar.gz", "w:gz") as archive:
                for name, kind, link in members:
                    info = tarfile.TarInfo(name)
                    info.type, info.linkname = kind, link
                    archive.addfile(info, io.BytesIO())

        return prepare

    weights = f"weights/{'0' * 64}.safetensors"
    zips = {
        "leads out": zipped(("../evil", b"x")),
        "leads out further on": zipped((f"weights/../../{'0' * 64}.safetensors", b"x")),
        "absolute": zipped(("/tmp/evil", b"x")),
        "a drive": zipped(("C:evil", b"x")),
        "backslashes": zipped(("..\\evil", b"x")),
        "link": zipped(("zoo.sqlite", b"/etc/passwd"), mode=0o120777),
        "device": zipped(("zoo.sqlite", b""), mode=0o020666),
        "pipe": zipped(("zoo.sqlite", b""), mode=0o010666),
        "strangers": zipped(("run.sh", b"touch trap")),
        "NUL in a name": zipped(("zoo.sqlite\0.txt", b"x")),
        "twice": zipped((weights, b"a"), (weights, b"b")),
        "bomb": zipped((weights, bytes(200 << 20)), packing=zipfile.ZIP_DEFLATED),
        "empty": zipped(),
        "weights only": zipped((weights, b"x")),
        "index no SQLite": zipped(("zoo.sqlite", b"x")),
        "index of zeros": zipped(("zoo.sqlite", bytes(8192))),
        "unknown packing": written("out/archive.zip", _unknown_packing()),
    }
    tars = {
        "leads out": tarred(("../evil", tarfile.REGTYPE, "")),
        "absolute": tarred(("/etc/evil", tarfile.REGTYPE, "")),
        "link": tarred(("zoo.sqlite", tarfile.SYMTYPE, "/etc/passwd")),
        "hard link": tarred(("zoo.sqlite", tarfile.LNKTYPE, "/etc/passwd")),
        "link, then through it": tarred(("weights", tarfile.SYMTYPE, "/tmp"), (weights, tarfile.REGTYPE, "")),
        "character device": tarred(("zoo.sqlite", tarfile.CHRTYPE, "")),
        "block device": tarred(("zoo.sqlite", tarfile.BLKTYPE, "")),
        "pipe": tarred(("zoo.sqlite", tarfile.FIFOTYPE, "")),
        "sparse": tarred(("zoo.sqlite", tarfile.GNUTYPE_SPARSE, "")),
        "bomb": lambda base: _tar_bomb(base / "out" / "archive.tar.gz"),
        "gzip of zeros": written("out/archive.tar.gz", gzip.compress(bytes(200 << 20), 1)),
        "gzip of text": written("out/archive.tar.gz", gzip.compress(b"hello")),
        "text": written("out/archive.tar.gz", b"hello"),
        "no bytes": written("out/archive.tar.gz", b""),
    }
    for ending, cases in ((".zip", zips), (".tar.gz", tars)):
        for name, prepare in cases.items():
            yield Case("archives", f"{ending}: {name}", f"{IMPORT}{ending}", ("archive", "zoo"), prepare)
    for share in (0.1, 0.5, 0.98):

        def cut(base: Path, share: float = share) -> None:
            content = (base / "zoo.zip").read_bytes()
            (base / "out" / "archive.zip").write_bytes(content[: int(share * len(content))])

        yield Case("archives", f".zip: cut at {share:.0%}", f"{IMPORT}.zip", ("archive",), cut)


def _unknown_packing() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("zoo.sqlite", b"x" * 50)
    content = bytearray(packed.getvalue())
    content[8] = 97
    at = content.index(b"PK\1\2")
    content[at + 10] = 97
    return bytes(content)


def _tar_bomb(path: Path) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo(f"weights/{'0' * 64}.safetensors")
        info.size = 200 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))


# --- images and preprocessed data -----------------------------------------------------------------------------------


def _image_cases() -> Iterator[Case]:
    def mask(change: Callable[[np.ndarray], np.ndarray], spacing: tuple[float, ...] = (1.0, 2.0, 5.0)) -> Prepare:
        def prepare(base: Path) -> None:
            array = change(sitk.GetArrayFromImage(sitk.ReadImage(str(base / MASK))))
            image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
            image.SetSpacing(spacing[: image.GetDimension()])
            sitk.WriteImage(image, str(base / MASK))

        return prepare

    def header(offset: int, kind: str, *values: float) -> Prepare:
        """Change NIfTI-1's header: dimensions from 40 (int16), type at 70, spacings from 76 (float32)."""

        def prepare(base: Path) -> None:
            content = bytearray(gzip.decompress((base / MASK).read_bytes()))
            struct.pack_into(f"<{len(values)}{kind}", content, offset, *values)
            (base / MASK).write_bytes(gzip.compress(bytes(content), 1))

        return prepare

    def cut(base: Path) -> None:
        content = (base / MASK).read_bytes()
        (base / MASK).write_bytes(content[: len(content) // 2])

    nan = float("nan")
    masks: dict[str, Prepare] = {
        "empty file": written(MASK, b""),
        "text": written(MASK, b"a mask"),
        "gzip of text": written(MASK, gzip.compress(b"a mask")),
        "cut": cut,
        "header only": lambda base: (
            (base / MASK).write_bytes(gzip.compress(gzip.decompress((base / MASK).read_bytes())[:348])) and None
        ),
        "size zero": header(40, "h", 3, 0, 0, 0),
        "size negative": header(40, "h", 3, -5, 16, 8),
        "size enormous": header(40, "h", 3, 32767, 32767, 32767),
        "nine axes": header(40, "h", 9, 2, 2, 2),
        "no axes": header(40, "h", 0),
        "unknown type": header(70, "h", 9999),
        "spacing NaN": header(76, "f", 1.0, nan, nan, nan),
        "spacing zero": header(76, "f", 1.0, 0.0, 0.0, 0.0),
        "spacing infinite": header(76, "f", 1.0, float("inf"), 1.0, 1.0),
        "labels of fractions": mask(lambda array: array.astype(np.float32) + 0.5),
        "labels NaN": mask(lambda array: np.full(array.shape, nan, np.float32)),
        "labels infinite": mask(lambda array: np.full(array.shape, np.inf, np.float32)),
        "labels unknown": mask(lambda array: array + 40),
        "labels negative": mask(lambda array: array.astype(np.int16) - 5),
        "four channels": mask(lambda array: np.stack([array, array + 1, array, array], axis=-1)),
        "a slice less": mask(lambda array: array[1:]),
        "2D": mask(lambda array: array[0]),
        "another spacing": mask(lambda array: array, (9.0, 9.0, 9.0)),
        "a folder": lambda base: ((base / MASK).unlink(), (base / MASK).mkdir()) and None,
        "a link to nothing": lambda base: ((base / MASK).unlink(), (base / MASK).symlink_to("none")) and None,
    }
    for name, prepare in masks.items():
        yield Case("images", f"mask: {name}", COMPARE, ("p0_a.nii.gz", "p0_a"), prepare)
    yield from _png_cases()


def _png_cases() -> Iterator[Case]:
    def pngs(write: Callable[[Path], Any]) -> Prepare:
        def prepare(base: Path) -> None:
            for path in (base / HOST / "fold_0" / "validation").glob("*.nii.gz"):
                path.unlink()
            for folder in (HOST, SEARCHED):
                changed(f"{folder}/dataset.json", put("file_ending", value=".png"))(base)
                for case in ("p0_a", "p1_a"):
                    Image.new("L", (8, 8)).save(base / folder / "fold_0" / "validation" / f"{case}.png")
            changed(f"{PREPARED}/dataset.json", put("file_ending", value=".png"))(base)
            for case in ("p0_a", "p1_a"):
                Image.new("L", (8, 8)).save(base / PREPARED / "gt_segmentations" / f"{case}.png")
            write(base / HOST / "fold_0" / "validation" / "p0_a.png")

        return prepare

    def coloured(path: Path) -> None:
        image = Image.new("RGBA", (8, 8))
        image.putpixel((0, 0), (1, 2, 3, 4))
        image.save(path)

    yield Case("images", "mask: RGBA PNG", COMPARE, ("p0_a.png",), pngs(coloured))
    yield Case("images", "mask: text as PNG", COMPARE, ("p0_a.png",), pngs(lambda path: path.write_bytes(b"no")))

    def sources(write: Callable[[Path], Any]) -> Prepare:
        return lambda base: [write(path) for path in (base / "images").rglob("*.png")] and None

    for name, write in {
        "text": lambda path: path.write_bytes(b"no"),
        "empty": lambda path: path.write_bytes(b""),
        "bomb": lambda path: path.write_bytes(_png_bomb()),
        "gone": lambda path: path.unlink(),
    }.items():
        yield Case("images", f"pretraining: {name}", PRETRAIN, ("images",), sources(write))
    yield Case("images", "pretraining: one class", PRETRAIN, ("images",), lambda base: shutil.rmtree(base / "images/b"))


def _png_bomb() -> bytes:
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


def _prepared_cases(draw: random.Random) -> Iterator[Case]:
    folder = f"{PREPARED}/nnUNetPlans_2d"
    share = draw.uniform(0.3, 0.7)

    def each(pattern: str, change: Callable[[bytes], bytes]) -> Prepare:
        def prepare(base: Path) -> None:
            for path in (base / folder).glob(pattern):
                path.write_bytes(change(path.read_bytes()))

        return prepare

    damages: dict[str, Prepare] = {
        "images of text": each("*[0-9].b2nd", lambda content: b"no"),
        "images cut": each("*[0-9].b2nd", lambda content: content[: int(share * len(content))]),
        "labels of text": each("*_seg.b2nd", lambda content: b"no"),
        "labels cut": each("*_seg.b2nd", lambda content: content[: int(share * len(content))]),
        "properties of text": each("*.pkl", lambda content: b"no"),
        "properties empty": each("*.pkl", lambda content: b""),
        "no folder": lambda base: shutil.rmtree(base / folder),
        "a strange file": written(f"{folder}/notes.txt", "x"),
        "no foreground": changed(f"{PREPARED}/dataset.json", put("labels", value={"background": 0})),
    }
    for name, prepare in damages.items():
        yield Case("preprocessed data", name, SCORE, ("Dataset990_Tiny",), prepare)


# --- trainers -------------------------------------------------------------------------------------------------------


def _trainer_cases(draw: random.Random) -> Iterator[Case]:
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
