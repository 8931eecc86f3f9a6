"""What a location that was given for a zoo is: a URL for fsspec, an archive, a folder without an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.weights_files import LOST, has_weights


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL and the path in it.

    Raises:
        FileNotFoundError: if nothing is there.
        OSError: if it cannot be opened.
        ValueError: if fsspec or what it needs is not installed, the URL is none, or leads into a damaged archive.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ValueError(f"zoo: expected fsspec to read {url}, it is missing; pip install fsspec") from error
    try:
        files, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(f"zoo: expected a URL that fsspec reads, got {url!r}: {error}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"zoo: expected a zoo at {url}, found nothing there") from error
    except OSError as error:
        raise OSError(f"zoo: expected to open {url}, got {error!r}") from error
    except Exception as error:  # each archive's reader has errors of its own
        raise ValueError(
            f"zoo: expected a zoo at {url}, the archive is damaged or something else ({error!r})"
        ) from error
    return files, str(root)


def missing_index(folder: Path) -> str:
    """Return what a folder without an index is instead, and what helps.

    Example:
        >>> missing_index(Path("nowhere"))
        'there is no such folder; make one with nnunet-iac zoo add'
    """
    if has_weights(folder):
        return f"it has no {FILE} but holds weights; {LOST}"
    if folder.is_file():
        return f"it is a file{archive_hint(folder.name, folder.resolve().as_uri())}"
    what = f"it has no {FILE}" if folder.is_dir() else "there is no such folder"
    return f"{what}; make one with nnunet-iac zoo add"


def archive_hint(name: str, url: str) -> str:
    """Return what helps where a name ends as an archive's, to be put at the end of a message.

    Example:
        >>> archive_hint("zoo.zip", "https://example.org/zoo.zip")
        '; for an archive give zip://::https://example.org/zoo.zip'
    """
    low = name.lower()
    if "::" in url or not low.endswith((".zip", ".tar.gz", ".tgz")):
        return ""
    if low.endswith(".tgz"):  # which fsspec does not take for a compressed archive
        return "; for an archive fetch it and read it into a folder: nnunet-iac zoo import"
    return f"; for an archive give {'zip' if low.endswith('.zip') else 'tar'}://::{url}"
