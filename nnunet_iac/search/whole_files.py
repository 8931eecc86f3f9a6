"""Is a file of ``torch.save`` whole? ``torch.load`` checks no sums, so a flipped bit would become a wrong weight."""

from __future__ import annotations

import zipfile
from pathlib import Path


def check_whole(path: Path) -> None:
    """Check the sums of everything in a file of ``torch.save``, and that it is no larger inside than outside.

    Since PyTorch 1.6 such a file is a ZIP archive whose members are stored as they are; a compressed member is
    nothing that PyTorch wrote, and may unpack to any size. Memory is bounded: members are read block by block.

    Raises:
        ValueError: if a sum differs, or a member is compressed or longer than the file; the caller names the file.
        zipfile.BadZipFile: if it is no ZIP archive (truncated, or older than PyTorch 1.6).
        OSError: from the file system, also for what Python takes for a bad place in the file.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "a.pt"
        >>> torch.save({"a": torch.ones(3)}, path)
        >>> check_whole(path)
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        packed = [one.filename for one in members if one.compress_type != zipfile.ZIP_STORED]
        if packed or sum(one.file_size for one in members) > size:
            raise ValueError(f"it would unpack to more than its {size} bytes, which no file of PyTorch does")
        if (wrong := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {wrong} in it is wrong")
