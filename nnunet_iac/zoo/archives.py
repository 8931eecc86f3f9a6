"""A zoo's folder as one file, ``.zip`` or ``.tar.gz``, and back, trusting nothing that the file says.

Only the names that a zoo has are unpacked, only regular files, and no more bytes than a real zoo packs into a file of
that size: its weights hardly compress. What the index then says is checked against what was unpacked.
"""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Any

from nnunet_iac.atomic import replacing
from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.shown import escaped
from nnunet_iac.zoo.weights_files import FOLDER, NAME

ENDINGS = (".zip", ".tar.gz", ".tgz")
"""File names that mean an archive."""

RATIO = 100
"""Bytes that one byte of an archive may unpack to; deflate reaches 1000 only with zeros."""

FREE = 64 << 20
"""Bytes that any archive may unpack to: a small one is mostly an index, which compresses well."""

DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, LookupError, RuntimeError, OverflowError, MemoryError),
)
"""What Python's readers of archives raise where one is damaged; names that are no text are ValueErrors."""

_BLOCK = 1 << 20


def is_archive_name(path: Path) -> bool:
    """Whether a file name asks for an archive.

    Example:
        >>> is_archive_name(Path("zoo.tar.gz")), is_archive_name(Path("zoo"))
        (True, False)
    """
    return path.name.lower().endswith(ENDINGS)


def pack(members: Iterable[tuple[str, bytes]], path: Path) -> None:
    """Write files of a zoo, by name, as an archive, whole or not at all.

    Who packed it, when and under which name is left out: of the same files the archive has the same bytes.

    Raises:
        OSError: from the file system; an earlier file is untouched then.
    """
    with replacing(path) as temporary:
        if path.name.lower().endswith(".zip"):
            with zipfile.ZipFile(temporary, "w") as archive:
                for name, content in members:
                    packing = zipfile.ZIP_DEFLATED if name == FILE else zipfile.ZIP_STORED
                    archive.writestr(_zip_header(name), content, packing)
            return
        # A gzip header has room for a name and a time; the temporary file's and today's are nobody's business.
        with (
            temporary.open("wb") as file,
            gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for name, content in members:
                header = tarfile.TarInfo(name)  # of nobody, in 1970
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive into an empty folder.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no archive of a zoo: damaged, or with names, links, devices or sizes that a zoo has not.
    """
    if not path.is_file():
        raise FileNotFoundError(f"archive: expected the file {path}, found none")
    budget = _Budget(path)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        members = _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path)
        seen: set[str] = set()
        for name, size, file in members:
            if name in seen:
                raise _Refused(f"archive: expected each file once, {path} has {name!r} twice")
            seen.add(name)
            budget.spend(size)
            _write(file, folder / name, size, path)
    except _Refused:
        raise
    except (*DAMAGED, OSError) as error:
        # bzip2 and files that are to be read before their beginning raise OSErrors; others tell of the disk.
        if isinstance(error, OSError) and not isinstance(error, DAMAGED) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(
            f"archive: expected a zoo as .zip or .tar.gz, {path} is damaged or something else "
            f"({escaped(str(error) or type(error).__name__)}); export it again"
        ) from error


class _Refused(ValueError):
    """What is said in words already."""


class _Budget:
    """How many bytes may still come out of an archive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self.left = max(FREE, RATIO * self._size)

    def spend(self, size: int) -> None:
        """Take bytes from what is left.

        Raises:
            ValueError: if that is less.
        """
        self.left -= size
        if self.left < 0:
            raise _Refused(
                f"archive: expected at most {RATIO} times its {self._size} bytes, or {FREE}, in {self._path}, which "
                "would unpack to more; it is not a zoo's"
            )


class _Rationed:
    """What gunzip gives, with an end; a tar's headers may ask for any size, so they are on the budget too."""

    def __init__(self, file: gzip.GzipFile, budget: _Budget) -> None:
        self._file = file
        self._budget = budget

    def read(self, size: int = -1) -> bytes:
        """Read, on the budget."""
        content = self._file.read(min(size, _BLOCK) if size >= 0 else _BLOCK)
        self._budget.spend(len(content))
        return content


def _zip_members(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            is_regular = kind in (0, stat.S_IFREG) and not member.is_dir()
            is_folder = member.is_dir() and kind in (0, stat.S_IFDIR)
            if _wanted(member.filename, is_regular, is_folder, path):
                with archive.open(member) as file:
                    yield member.filename, member.file_size, file


def _tar_members(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    headers_too = _Budget(path)
    with gzip.open(path) as unzipped:
        stream: Any = _Rationed(unzipped, headers_too)
        with closing(tarfile.open(fileobj=stream, mode="r|")) as archive:
            for member in archive:
                is_regular = member.isreg() and not member.issparse()
                if _wanted(member.name, is_regular, member.isdir(), path):
                    file = archive.extractfile(member)
                    if file is not None:
                        yield member.name, member.size, file


def _wanted(name: str, is_regular: bool, is_folder: bool, path: Path) -> bool:
    """Whether a member is a zoo's file; False for its folder of weights, an error for all that a zoo has not."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ".." in parts or ":" in name:
        raise _Refused(f"archive: expected names inside the zoo, got {name!r} in {path}; it is not a zoo's export")
    if not (is_regular or is_folder):
        raise _Refused(
            f"archive: expected files only, {name!r} in {path} is a link, a device or the like; "
            "it is not a zoo's export"
        )
    is_weights = len(parts) == 2 and parts[0] == FOLDER and NAME.fullmatch(parts[1]) is not None
    if is_folder and parts == (FOLDER,):
        return False
    if is_regular and name == "/".join(parts) and (name == FILE or is_weights):
        return True
    raise _Refused(
        f"archive: expected {FILE} and {FOLDER}/<SHA-256>.safetensors, got {name!r} in {path}; it is not a zoo's export"
    )


def _write(file: IO[bytes], target: Path, size: int, path: Path) -> None:
    left = size
    with target.open("xb") as out:
        while left >= 0 and (block := file.read(_BLOCK)):
            left -= len(block)
            out.write(block)
    if left:
        raise _Refused(f"archive: expected files of the size that it says, {path} is damaged; export it again")


def _zip_header(name: str) -> zipfile.ZipInfo:
    header = zipfile.ZipInfo(name)  # of 1980, where ZIP's time begins
    header.create_system = 3  # Unix, on every system
    header.external_attr = (stat.S_IFREG | 0o644) << 16
    return header
