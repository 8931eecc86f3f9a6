"""Names of data sets as nnU-Net writes them: ``Dataset004_Hippocampus``."""


def dataset_number(name: str) -> int:
    """Return nnU-Net's number of a data set, which its commands take.

    Raises:
        ValueError: if the name is none of nnU-Net's.

    Example:
        >>> dataset_number("Dataset004_Hippocampus")
        4
    """
    if not (name.startswith("Dataset") and name[7:10].isdecimal() and name[10:11] == "_"):
        raise ValueError(f"data set: expected a name such as Dataset004_Hippocampus, got {name!r}")
    return int(name[7:10])
