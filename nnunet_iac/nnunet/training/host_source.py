"""Where a run's host comes from: trained here, a finished stock training, or given weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nnunet_iac.atomic import write_json
from nnunet_iac.json_files import read_json
from nnunet_iac.nnunet.files.hosts import find_host, host_candidates, results_folder
from nnunet_iac.nnunet.files.plans import names_of

FILE = "host.json"


@dataclass(frozen=True)
class HostSource:
    """The decision, kept in ``host.json`` in the fold's folder so that a resumed run does not decide anew.

    Attributes:
        checkpoint: a finished training whose weights are taken, or None.
        epochs: epochs of nnU-Net before the search.
        heads_only: those epochs train the segmentation layers only.
        message: the decision in words.
    """

    checkpoint: str | None
    epochs: int
    heads_only: bool
    message: str

    @property
    def trains(self) -> bool:
        """Whether the host (or its segmentation layers) is trained in this run."""
        return self.checkpoint is None


def find_host_source(
    wanted: Literal["train", "trained", "either"],
    *,
    pretrained: bool,
    plans: dict[str, Any],
    configuration: str,
    fold: int | str,
    epochs: int,
) -> HostSource:
    """Decide where the host comes from.

    Args:
        wanted: see :class:`nnunet_iac.nnunet.training.recipe.Recipe`.
        pretrained: whether ``-pretrained_weights`` were loaded into the network.
        plans: the plans; a derived plans file also finds hosts of the plans it came from.
        configuration: nnU-Net's configuration.
        fold: nnU-Net's fold.
        epochs: ``host.epochs``.

    Raises:
        FileNotFoundError: if a trained host is wanted and there is none.
    """
    if wanted == "train":
        how = "all weights, starting from -pretrained_weights" if pretrained else "all weights"
        return HostSource(None, epochs, False, f"trained here for {epochs} epochs ({how})")
    if pretrained:
        return HostSource(
            None,
            epochs,
            True,
            f"-pretrained_weights; nnU-Net does not copy segmentation layers, so these alone are trained for {epochs} "
            "epochs (host.epochs) first",
        )
    names = names_of(plans)
    candidates = host_candidates(results_folder(), plans["dataset_name"], names, configuration, fold)
    try:
        path = find_host(candidates)
    except FileNotFoundError:
        if wanted == "trained":
            raise
        return HostSource(None, epochs, False, f"no trained host was found, so it is trained here for {epochs} epochs")
    return HostSource(str(path), 0, False, f"weights of {path}")


def save_host_source(folder: Path, source: HostSource) -> None:
    """Write ``host.json``."""
    write_json(folder / FILE, asdict(source))


def load_host_source(folder: Path) -> HostSource | None:
    """Read ``host.json``; None if it is not there.

    Raises:
        ValueError: if it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return HostSource(**read_json(path))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{FILE}: expected the record of a run, got a damaged file {path} ({error}); start without --c"
        ) from error
