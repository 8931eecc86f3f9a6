"""The network that a plan describes: read, checked, changed in size, built, without nnunetv2."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from nnunet_iac.cells.network import HOSTS

BLOCKS_KEY = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}
"""Where ``arch_kwargs`` say how deep an encoder stage is."""

CLASSES = ("conv_op", "norm_op", "dropout_op", "nonlin")
"""Arguments that are classes; a plan holds their names."""

STOCK = "dynamic_network_architectures."
"""Where the names of stock networks and blocks start; nnU-Net imports whatever stands in plans."""

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@dataclass(frozen=True)
class StockArchitecture:
    """The section ``architecture`` of one configuration of a plans file.

    Attributes:
        record: the section in its JSON form: ``network_class_name``, ``arch_kwargs``, ``_kw_requires_import``.

    Raises:
        ValueError: if the network is not a stock ``PlainConvUNet`` or ``ResidualEncoderUNet`` of basic blocks, or its
            numbers do not fit together.

    Example:
        >>> architecture = StockArchitecture({
        ...     "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        ...     "arch_kwargs": {"n_stages": 2, "features_per_stage": [8, 16], "conv_op": "torch.nn.modules.conv.Conv2d",
        ...         "kernel_sizes": [[3, 3], [3, 3]], "strides": [[1, 1], [2, 2]], "n_conv_per_stage": [2, 2],
        ...         "n_conv_per_stage_decoder": [2], "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d"},
        ...     "_kw_requires_import": ["conv_op", "norm_op"]})
        >>> architecture.resized([8, 8], [1, 2], [1]).record["arch_kwargs"]["n_conv_per_stage"]
        [1, 2]
    """

    record: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.record, Mapping) or not isinstance(self.record.get("arch_kwargs"), Mapping):
            raise ValueError(
                'architecture: expected the section "architecture" of a plan with "network_class_name" and '
                f'"arch_kwargs", got {self.record!r}; plan the data set with nnU-Net 2.8'
            )
        object.__setattr__(self, "record", copy.deepcopy(dict(self.record)))
        name = str(self.record.get("network_class_name"))
        if name.rpartition(".")[2] not in HOSTS or not name.startswith(STOCK):
            raise ValueError(
                f"architecture.network_class_name: expected one of {sorted(HOSTS)}, got {name!r}; plan the data set "
                "with a stock planner, or give the plan of the host if this one has cells"
            )
        problems = [*_problems(self.kind, self.arguments), *_import_problems(self.record)]
        if problems:
            raise ValueError("architecture: " + "; ".join(problems))

    @property
    def kind(self) -> str:
        """Name of the stock class."""
        return str(self.record["network_class_name"]).rpartition(".")[2]

    @property
    def residual(self) -> bool:
        """Whether the encoder has residual blocks."""
        return self.kind == "ResidualEncoderUNet"

    @property
    def arguments(self) -> Mapping[str, Any]:
        """``arch_kwargs`` as they stand in the plan."""
        arguments: Mapping[str, Any] = self.record["arch_kwargs"]
        return arguments

    @property
    def features(self) -> tuple[int, ...]:
        """Channels of each encoder stage, full resolution first."""
        return _numbers(self.arguments["features_per_stage"], self.arguments["n_stages"])

    @property
    def depths(self) -> tuple[int, ...]:
        """Convolutions or blocks of each encoder stage, full resolution first."""
        return _numbers(self.arguments[BLOCKS_KEY[self.kind]], self.arguments["n_stages"])

    @property
    def decoder_depths(self) -> tuple[int, ...]:
        """Convolutions of each decoder stage, lowest resolution first."""
        return _numbers(self.arguments["n_conv_per_stage_decoder"], self.arguments["n_stages"] - 1)

    def resized(
        self, features: Sequence[int], depths: Sequence[int], decoder_depths: Sequence[int]
    ) -> StockArchitecture:
        """Return the same architecture with other numbers of channels and layers; all else stays."""
        record = copy.deepcopy(dict(self.record))
        record["arch_kwargs"] = {
            **self.arguments,
            "features_per_stage": [int(n) for n in features],
            BLOCKS_KEY[self.kind]: [int(n) for n in depths],
            "n_conv_per_stage_decoder": [int(n) for n in decoder_depths],
        }
        if self.arguments.get("stem_channels") is not None:
            record["arch_kwargs"]["stem_channels"] = int(features[0])
        return StockArchitecture(record)

    def build(self, input_channels: int, num_classes: int, *, deep_supervision: bool = False) -> nn.Module:
        """Build the stock network; its weights are torch's defaults, ``network.initialize`` is not applied."""
        return HOSTS[self.kind](
            input_channels=input_channels,
            num_classes=num_classes,
            deep_supervision=deep_supervision,
            **_with_classes(self.arguments),
        )


def torch_class(argument: str, name: object) -> type[nn.Module] | None:
    """Return the module of ``torch.nn`` that a plan names, None for None.

    nnU-Net imports whatever stands there; a plan that came with a foreign zoo entry shall not be able to run code.

    Raises:
        ValueError: if it is not a module of ``torch.nn``.

    Example:
        >>> torch_class("conv_op", "torch.nn.modules.conv.Conv2d").__name__
        'Conv2d'
    """
    if name is None:
        return None
    found = getattr(nn, str(name).rpartition(".")[2], None) if str(name).startswith("torch.nn.") else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(
            f"architecture.arch_kwargs.{argument}: expected a module of torch.nn, got {name!r}; "
            "use the plan that nnU-Net wrote"
        )
    return found


def _with_classes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the class takes; ``block`` can only be the default and stands there as text."""
    return {
        name: torch_class(name, value) if name in CLASSES else value
        for name, value in arguments.items()
        if name != "block"
    }


def _numbers(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    return (int(value),) * count if isinstance(value, int) else tuple(int(v) for v in value)


def _problems(kind: str, arguments: Mapping[str, Any]) -> list[str]:
    """Return what the supernet cannot use."""
    needed = {
        name
        for name, parameter in inspect.signature(HOSTS[kind].__init__).parameters.items()
        if parameter.default is parameter.empty and name not in ("self", "input_channels", "num_classes")
    }
    if missing := sorted(needed - set(arguments)):
        return [f"arch_kwargs: expected {sorted(needed)}, missing {missing}"]
    stages = arguments["n_stages"]
    if isinstance(stages, bool) or not isinstance(stages, int) or stages < 2:
        return [f"n_stages: expected an integer of at least 2, got {stages!r}"]
    lengths = {
        "features_per_stage": stages,
        "kernel_sizes": stages,
        "strides": stages,
        BLOCKS_KEY[kind]: stages,
        "n_conv_per_stage_decoder": stages - 1,
    }
    problems = [
        f"{name}: expected {count} entries, got {len(arguments[name])}"
        for name, count in lengths.items()
        if isinstance(arguments[name], (list, tuple)) and len(arguments[name]) != count
    ]
    return problems + _unsupported(arguments)


def _import_problems(record: Mapping[str, Any]) -> list[str]:
    """Return which arguments nnU-Net would import that are no classes of a stock network."""
    wanted = record.get("_kw_requires_import", ())
    names = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    strange = [name for name in names if name not in (*CLASSES, "block")]
    return [f"_kw_requires_import: expected some of {[*CLASSES, 'block']}, got {strange} too"] if strange else []


def _unsupported(arguments: Mapping[str, Any]) -> list[str]:
    problems = []
    block = str(arguments.get("block") or f"{STOCK}BasicBlockD")
    is_basic = block.endswith("BasicBlockD") and block.startswith(STOCK)
    if not is_basic or arguments.get("bottleneck_channels") is not None:
        problems.append(f"block: expected BasicBlockD without bottleneck_channels, got {block}")
    features = arguments["features_per_stage"]
    first = features if isinstance(features, int) else features[0]
    if arguments.get("stem_channels") not in (None, first):
        problems.append(
            f"stem_channels: expected those of the first stage, {first}, got {arguments['stem_channels']!r}"
        )
    norm = torch_class("norm_op", arguments.get("norm_op"))
    if norm not in (None, *NORMS):
        problems.append(f"norm_op: expected one of {[n.__name__ for n in NORMS]} or none, got {norm}")
    if (arguments.get("norm_op_kwargs") or {}).get("track_running_stats") and "Instance" in str(norm):
        problems.append("norm_op_kwargs: expected an instance normalisation without running statistics, got one with")
    return problems
