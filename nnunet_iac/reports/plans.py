"""What a model folder says about itself: its name, the genotype and settings in ``plans.json``, names of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports.documents import flatten, read_object


@dataclass(frozen=True)
class ModelName:
    """The parts of nnU-Net's folder name ``<trainer>__<plans>__<configuration>`` and the data set above it.

    Example:
        >>> ModelName.of(Path("Dataset004_Hippocampus/nnUNetTrainerIAC__nnUNetPlans_iac__2d"))
        ModelName(dataset='Dataset004_Hippocampus', trainer='nnUNetTrainerIAC', plans='nnUNetPlans_iac', \
configuration='2d')
    """

    dataset: str
    trainer: str
    plans: str
    configuration: str

    @classmethod
    def of(cls, model: Path) -> ModelName | None:
        """Return the parts of a model folder's name, None if it was renamed."""
        parts = model.name.split("__")
        return cls(model.parent.name, *parts) if len(parts) == 3 else None


@dataclass(frozen=True)
class PlansFacts:
    """What a report takes from ``plans.json``.

    Attributes:
        network_class: dotted name of the network class, None without plans.
        genotype: the genotype the network was built with, None if the network carries none.
        settings: the ``iac`` block with dotted keys (only what was set; defaults are not written there).
        derived_from: name of the plans that these were derived from, None if they say nothing.
    """

    network_class: str | None = None
    genotype: Genotype | None = None
    settings: Mapping[str, Any] | None = None
    derived_from: str | None = None


def read_plans(model: Path, configuration: str | None) -> PlansFacts:
    """Read ``plans.json`` of a model folder; without the file, nothing is known.

    Where the configuration is not known (a renamed folder), the first one that carries cells is taken.

    Raises:
        ValueError: if the file does not parse or its genotype is not valid.
    """
    path = model / "plans.json"
    if not path.is_file():
        return PlansFacts()
    plans = read_object(path)
    try:
        resolved = _configuration(plans.get("configurations"), configuration)
        architecture = resolved.get("architecture") or {}
        genotype = (architecture.get("arch_kwargs") or {}).get("genotype")
        return PlansFacts(
            network_class=architecture.get("network_class_name"),
            genotype=None if genotype is None else Genotype.from_dict(genotype),
            settings=flatten(resolved.get("iac") or {}),
            derived_from=plans.get("derived_from"),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: expected configurations with architecture and settings as nnU-Net writes them ({error}); restore "
            "the file"
        ) from error


def is_ours(model: Path) -> bool:
    """Return whether the network of a model folder is one of ours; False without a readable plans file."""
    name = ModelName.of(model)
    try:
        return _is_ours(read_plans(model, name.configuration if name else None).network_class)
    except ValueError:
        return False


def class_names(model: Path) -> dict[str, str]:
    """Return nnU-Net's key of each foreground class or region, with its name, in the order of ``dataset.json``.

    Without the file there are no names. Regions have keys such as ``(1, 2)``.

    Raises:
        ValueError: if the file does not parse.
    """
    path = model / "dataset.json"
    labels = read_object(path).get("labels") if path.is_file() else {}
    if not isinstance(labels, dict):
        raise ValueError(f"{path}: labels: expected an object of name and value, got {labels!r}; restore the file")
    return {_key(value): str(name) for name, value in labels.items() if name not in ("background", "ignore")}


def _is_ours(network_class: Any) -> bool:
    return str(network_class).startswith("nnunet_iac.")


def _key(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) and len(value) > 1 else str(value).strip("[]")


def _configuration(configurations: Any, name: str | None) -> dict[str, Any]:
    if not isinstance(configurations, dict):
        return {}
    resolved = {key: _inherited(configurations, key) for key in configurations}
    if name in resolved:
        return resolved[name]
    carrying = (c for c in resolved.values() if _is_ours((c.get("architecture") or {}).get("network_class_name")))
    return next(carrying, {})


def _inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    chain: list[dict[str, Any]] = []
    seen: set[str] = set()
    while name in configurations and name not in seen:
        seen.add(name)
        chain.append(configurations[name])
        name = str(configurations[name].get("inherits_from"))
    return {key: value for configuration in reversed(chain) for key, value in configuration.items()}
