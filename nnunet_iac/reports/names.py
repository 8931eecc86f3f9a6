"""Names and colours of operations, edges and levels: the same in every plot and in every sentence of a report."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nnunet_iac.cells.cell_shape import CELL_INPUTS
from nnunet_iac.cells.genotype import OPERATIONS

TIMES = "\N{MULTIPLICATION SIGN}"
"""Between the sides of a kernel, and between a count and what is counted."""

OPERATION_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "none": "none",
        "max_pool_3x3": f"max pool 3{TIMES}3",
        "avg_pool_3x3": f"avg pool 3{TIMES}3",
        "skip_connect": "skip connect",
        "sep_conv_3x3": f"sep conv 3{TIMES}3",
        "sep_conv_5x5": f"sep conv 5{TIMES}5",
        "dil_conv_3x3": f"dil conv 3{TIMES}3",
        "dil_conv_5x5": f"dil conv 5{TIMES}5",
    }
)
"""What a reader sees for each operation, in the order of :data:`nnunet_iac.cells.genotype.OPERATIONS`."""

OPERATION_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "none": "#9a9a9a",
        "max_pool_3x3": "#117733",
        "avg_pool_3x3": "#52b788",
        "skip_connect": "#e09f00",
        "sep_conv_3x3": "#28348f",
        "sep_conv_5x5": "#3d9be0",
        "dil_conv_3x3": "#8a1c4f",
        "dil_conv_5x5": "#e0607e",
    }
)
"""One colour for each operation; families share a hue (pools green, separable blue, dilated red)."""


def colour_of(index: int) -> str:
    """Return the colour of the operation at ``index`` in the order of saved searches."""
    return OPERATION_COLOURS[OPERATIONS[index]]


def label_of(index: int) -> str:
    """Return the label of the operation at ``index`` in the order of saved searches."""
    return OPERATION_LABELS[OPERATIONS[index]]


def input_name(index: int, second_input: str = "decoder") -> str:
    """Return the name of what an edge reads: 0 is the second input, 1 the encoder skip, ``j >= 2`` a node.

    Example:
        >>> [input_name(i) for i in range(4)], input_name(0, "encoder")
        (['decoder', 'skip', 'n1', 'n2'], 'skip copy')
    """
    if index >= CELL_INPUTS:
        return f"n{index - CELL_INPUTS + 1}"
    if index == 1:
        return "skip"
    return "decoder" if second_input == "decoder" else "skip copy"


def edge_name(node: int, source: int, second_input: str = "decoder") -> str:
    """Return the name of the edge that node ``node`` (counted from 0) reads from input ``source``.

    Example:
        >>> edge_name(1, 1), edge_name(3, 2)
        ('skip→n2', 'n1→n4')
    """
    return f"{input_name(source, second_input)}→n{node + 1}"


def level_name(group: int, groups: int, first_level: int = 0) -> str:
    """Return the name of a cell: there is one for all levels, or one for each level (0 is full resolution).

    Args:
        group: which of the cells.
        groups: how many there are.
        first_level: that the first of them is for.

    Example:
        >>> level_name(0, 1), level_name(0, 3), level_name(2, 3), level_name(0, 2, first_level=1)
        ('cell shared by all levels', 'level 0 (full resolution)', 'level 2', 'level 1')
    """
    if groups == 1:
        return "cell shared by all levels" + (f" from level {first_level} on" if first_level else "")
    level = first_level + group
    return f"level {level}" + (" (full resolution)" if level == 0 else "")


def duration(seconds: float) -> str:
    """Return a length of time in words.

    Example:
        >>> duration(8.25), duration(125), duration(7384)
        ('8.2 s', '2 min 5 s', '2 h 3 min')
    """
    if not 0 <= seconds < float("inf"):
        return "an unknown time"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the right form.

    Example:
        >>> counted(1, "epoch"), counted(3, "epoch")
        ('1 epoch', '3 epochs')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")
