"""Whether a zoo can be written to, asked before hours of work whose result it is to keep."""

from __future__ import annotations

import os

from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.weights_files import FOLDER


def check_writable(zoo: Zoo) -> None:
    """Check that entries can be added to a zoo; nothing is made, neither the zoo nor its folder.

    Raises:
        FileNotFoundError: if there is no zoo.
        ValueError: if its index is damaged or of a newer schema, or it is not in a folder.
        OSError: if it cannot be written to.

    Example:
        >>> import tempfile
        >>> check_writable(Zoo.create(tempfile.mkdtemp()))
    """
    folder = zoo.place.folder
    if folder is not None:
        paths = (folder, folder / FOLDER, folder / FILE)
        closed = [path.name for path in paths if path.exists() and not os.access(path, os.W_OK)]
        if closed:
            raise PermissionError(
                f"--zoo: expected a zoo that can be written to, {folder} has {closed} that cannot be; make it "
                "writable, or give another"
            )
    with zoo.locked():
        pass
