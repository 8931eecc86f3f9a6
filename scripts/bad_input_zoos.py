"""Bad inputs that are zoos, their entries, and archives of them."""

# Lambdas that do several things, or that hold a loop's value.
# mypy: disable-error-code="func-returns-value,misc"
from __future__ import annotations

import gzip
import io
import os
import random
import sqlite3
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from bad_input_cases import Case, Prepare, written

IMPORT = "zoo import --zoo {}/new {}/out/archive"


def _sql(*statements: str) -> Prepare:
    def prepare(base: Path) -> None:
        with closing(sqlite3.connect(base / "zoo" / "zoo.sqlite", isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    return prepare


def _weights(base: Path) -> list[Path]:
    return sorted((base / "zoo" / "weights").glob("*.safetensors"))


def zoo_cases(draw: random.Random) -> Iterator[Case]:
    """Yield indices of zoos and files of entries."""
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


def archive_cases() -> Iterator[Case]:  # noqa: C901 - a list of cases
    """Yield archives to import."""

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
