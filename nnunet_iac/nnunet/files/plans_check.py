"""Is a configuration of plans what nnU-Net writes? Said in words before anything computes with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Check = tuple[Callable[[Any], bool], str]


def configuration_problems(configuration: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a configuration whose inheritance is resolved; empty if nothing is.

    Only what is there is looked at, but for the architecture, without which there is no network. Keys that nobody here
    reads may hold anything.

    Example:
        >>> network = {"network_class_name": "a.B", "arch_kwargs": {"n_stages": 2}, "_kw_requires_import": []}
        >>> configuration_problems({"architecture": network, "patch_size": [32, 0]})
        ['patch_size: expected 2 or 3 whole numbers from 1, got [32, 0]']
    """
    problems = _problems(configuration, _CONFIGURATION, "")
    architecture = configuration.get("architecture")
    if not isinstance(architecture, Mapping):
        return [*problems, f"architecture: expected an object, got {_shown(architecture)}"]
    problems += [f"architecture.{name}: missing" for name in _ARCHITECTURE if name not in architecture]
    problems += _problems(architecture, _ARCHITECTURE, "architecture.")
    arguments = architecture.get("arch_kwargs")
    if isinstance(arguments, Mapping):
        if "n_stages" not in arguments:
            problems.append("architecture.arch_kwargs.n_stages: missing")
        problems += _problems(arguments, _ARGUMENTS, "architecture.arch_kwargs.")
    return problems


def _problems(record: Mapping[str, Any], checks: Mapping[str, Check], where: str) -> list[str]:
    return [
        f"{where}{name}: expected {expected}, got {_shown(record[name])}"
        for name, (is_right, expected) in checks.items()
        if name in record and not is_right(record[name])
    ]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 1 << 31


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (2, 3) and all(map(_is_count, value))


def _is_spacing(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (2, 3) and all(map(_is_positive, value))


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value and math.isfinite(value)


def _is_stages(value: Any) -> bool:
    return isinstance(value, list) and all(_is_count(one) or _is_counts(one) for one in value)


def _is_widths(value: Any) -> bool:
    return _is_count(value) or (isinstance(value, list) and all(map(_is_count, value)))


def _is_name(value: Any) -> bool:
    # It becomes a folder, and must not lead out of the data set's.
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & set("/\\\0\n\r")


_CONFIGURATION: dict[str, Check] = {
    "data_identifier": (_is_name, "the plain name of a folder"),
    "batch_size": (_is_count, "a whole number from 1"),
    "patch_size": (_is_counts, "2 or 3 whole numbers from 1"),
    "spacing": (_is_spacing, "2 or 3 positive numbers"),
    "iac": (lambda value: isinstance(value, Mapping), "an object of settings"),
}

_ARCHITECTURE: dict[str, Check] = {
    "network_class_name": (lambda value: isinstance(value, str), "a dotted name"),
    "arch_kwargs": (lambda value: isinstance(value, Mapping), "an object"),
    "_kw_requires_import": (
        lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
        "a list of names",
    ),
}

_ARGUMENTS: dict[str, Check] = {
    "n_stages": (lambda value: _is_count(value) and value <= 100, "a whole number from 1 to 100"),
    "features_per_stage": (_is_widths, "whole numbers from 1"),
    "strides": (_is_stages, "whole numbers from 1, for each stage"),
    "kernel_sizes": (_is_stages, "whole numbers from 1, for each stage"),
    "n_conv_per_stage": (_is_widths, "whole numbers from 1"),
    "n_blocks_per_stage": (_is_widths, "whole numbers from 1"),
    "n_conv_per_stage_decoder": (_is_widths, "whole numbers from 1"),
}
