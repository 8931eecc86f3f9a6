"""What a network reads and answers, as ``dataset.json`` names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunet_iac.cells.weight_transfer import Interface


def interface_of(dataset: Mapping[str, Any], inputs: int, outputs: int) -> Interface:
    """Return the names of a network's image channels and outputs.

    Names that do not fit the network count as unknown. In a cascade, channels beyond those of the images show what the
    stage before answered; they are named by their place.

    Args:
        dataset: content of ``dataset.json``; empty if it is not known.
        inputs: image channels of the network.
        outputs: outputs of the network.

    Raises:
        ValueError: if channels or labels are not what nnU-Net writes there.

    Example:
        >>> labels = {"background": 0, "RV": 2, "LV": 1, "ignore": 3}
        >>> interface_of({"channel_names": {"0": "cineMRI"}, "labels": labels}, 1, 3)
        Interface(channels=('cineMRI',), labels=('background', 'LV', 'RV'), regions=False)
    """
    try:
        channels = _channels(dataset.get("channel_names", dataset.get("modality", {})))
        labels, regions = _labels(dataset.get("labels", {}))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"dataset.json: expected nnU-Net's channel_names and labels, got {error!r}; restore the file"
        ) from error
    if not 0 < len(channels) <= inputs:
        channels = [""] * inputs
    channels += [f"previous stage {number}" for number in range(1, inputs - len(channels) + 1)]
    return Interface(tuple(channels), tuple(labels if len(labels) == outputs else ()), regions)


def _channels(names: Mapping[str, Any]) -> list[str]:
    return [str(names[key]) for key in sorted(names, key=int)]


def _labels(labels: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Return the names in the order of nnU-Net's outputs: regions as they stand there, classes by their value."""
    known = {str(name): _values(value) for name, value in labels.items() if name != "ignore"}
    regions = any(len(values) > 1 for values in known.values())
    if regions:
        return [name for name, values in known.items() if set(values) != {0}], True
    return sorted(known, key=lambda name: known[name]), False


def _values(value: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, (list, tuple)) else (int(value),)
