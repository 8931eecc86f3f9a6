"""The trainer whose search starts from another search of the zoo (arXiv 2407.20279): host, cells and logits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from nnunet_iac.atomic import write_json
from nnunet_iac.cells.mixed import MixedCells
from nnunet_iac.cells.transfer_report import TransferReport
from nnunet_iac.cells.warm_start import start_architecture, transfer_cells
from nnunet_iac.cells.weight_transfer import Interface, transfer_weights
from nnunet_iac.json_files import read_json
from nnunet_iac.nnunet.cases.dataset_features import region_features
from nnunet_iac.nnunet.cases.image_samples import PreparedData
from nnunet_iac.nnunet.files.interfaces import interface_of
from nnunet_iac.nnunet.files.model_folder import CHOICE, locked
from nnunet_iac.nnunet.training.cell_start import CellStart
from nnunet_iac.nnunet.training.searched_host import CELLS
from nnunet_iac.nnunet.training.trainers import IACTrainer
from nnunet_iac.nnunet.transfer.nearest_source import SourceChoice, choose_source
from nnunet_iac.nnunet.transfer.serving_source import TransferTarget
from nnunet_iac.search.search import STATE
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.store import Zoo

HOST_REPORT, CELLS_REPORT = "transfer_host.json", "transfer_cells.json"
"""Files in the folder of a fold: what was done to each tensor of host and cells."""


class TransferTrainer(IACTrainer):
    """:class:`IACTrainer` whose search starts from an entry of ``transfer.zoo``.

    The source is chosen before anything is trained, and once: a run that is continued and later folds of the model take
    the same. A search that has begun needs the zoo no more.
    """

    _choice: SourceChoice | None = None

    def _settle_host(self) -> None:
        given = self.cell_network.host_digest() != self._fresh_host
        super()._settle_host()
        trains = self.host_source is not None and self.host_source.trains and not self.host_source.heads_only
        untouched = self.current_epoch == 0 and trains and not given
        takes_host = self.settings.transfer.host and untouched
        if takes_host or (self.genotype is None and self.recipe.cells == "search"):
            self._choice = self._of_first_rank(self._settle_choice)
        if takes_host:
            self._transfer_host()
        elif self.settings.transfer.host and self.current_epoch == 0:
            self.print_to_log_file("Transfer: the host starts from weights of its own, not from the source's.")

    # --- the source ---------------------------------------------------------------------------------------------

    def _settle_choice(self) -> SourceChoice | None:
        log = self.print_to_log_file
        with locked(self._model_folder, "transfer.lock", log, "Waiting for another fold that chooses a source"):
            begun = self.resume and (self._fold_folder / STATE).is_file()
            choice = stored_choice(self._fold_folder) if self.resume else None
            if choice is None and not begun:  # a search that began without one began from a fresh draw
                choice = self._choice_of_other_folds() or self._choose()
            if choice is not None:
                write_json(self._fold_folder / CHOICE, choice.to_dict())
            else:
                (self._fold_folder / CHOICE).unlink(missing_ok=True)
        return choice

    def _choose(self) -> SourceChoice | None:
        """Return the source of a first run, None for a search from a fresh draw."""
        choice = choose_source(self._zoo(), self.settings.transfer.source, self._target())
        for line in choice.lines():
            self.print_to_log_file(line)
        return choice

    def _choice_of_other_folds(self) -> SourceChoice | None:
        others = sorted(
            path for path in self._model_folder.glob(f"fold_*/{CHOICE}") if path.parent != self._fold_folder
        )
        choice = stored_choice(others[0].parent) if others else None
        if choice is not None:
            self.print_to_log_file(
                f"Transfer: start from {choice.name} (entry {choice.source}), as {others[0].parent.name} of this model "
                f"did; transfer.source={self.settings.transfer.source} is not looked at. To start from another source, "
                "train under another plans name (nnunet-iac configure -o)."
            )
            if choice.distances and self.fold != "all":
                self.print_to_log_file(
                    f"NOTE: chosen by the training images of {others[0].parent.name}; validation images of fold "
                    f"{self.fold} may be among them. The choice saw them and where their labels are; the weights that "
                    "are started from did not."
                )
        return choice

    def _target(self) -> TransferTarget:
        data = PreparedData(
            dataset=self.plans_manager.dataset_name,
            folder=Path(self.preprocessed_dataset_folder),
            plans=self.plans_manager.plans,
            configuration=self.configuration_name,
            content=self.dataset_json,
            cases=tuple(self.do_split()[0]),
            patch_size=tuple(self.configuration_manager.patch_size),
            fold=self.fold,
        )

        def features() -> Any:
            self.print_to_log_file(f"Transfer: looking at the training cases of {data.dataset} to compare data sets.")
            return region_features(data, device=self.device)

        nodes = self.settings.cell.nodes
        return TransferTarget(data.dataset, data.configuration, data.dimensions, nodes, features)

    def _zoo(self) -> Zoo:
        if self.settings.transfer.zoo is None:
            raise ValueError(
                "transfer.zoo: expected the folder or URL of a zoo, got null; set it with nnunet-iac configure --set "
                "transfer.zoo=DIR"
            )
        return Zoo(self.settings.transfer.zoo)

    def _source(self) -> tuple[Entry, dict[str, torch.Tensor]]:
        if self._choice is None:
            raise RuntimeError("transfer: expected a chosen source, got none; the search was not prepared")
        zoo = self._zoo()
        entry = zoo.entry(self._choice.source)
        return entry, zoo.read_weights(entry)

    # --- host and cells -----------------------------------------------------------------------------------------

    def _transfer_host(self) -> None:
        entry, tensors = self._source()
        host = {name: value for name, value in tensors.items() if not name.startswith(CELLS)}
        outputs = self.label_manager.num_segmentation_heads
        own = interface_of(self.dataset_json, self.num_input_channels, outputs)
        old = Interface(entry.channels, entry.labels, entry.regions)
        try:
            report = transfer_weights(self.cell_network, host, old, own)
        except ValueError as error:  # other kinds of encoders; nothing was copied
            self.print_to_log_file(f"WARNING: transfer: the host stays as initialised. {error}")
            return
        self._tell("host", report, HOST_REPORT, entry)

    def _cell_start(self) -> CellStart | None:
        transfer, choice = self.settings.transfer, self._choice
        if choice is None:
            return None
        identity = {
            "source": choice.source,
            "temperature": transfer.temperature,
            "weights": transfer.weights,
            "rate": transfer.rate,
            "rate_epochs": transfer.rate_epochs,
        }
        return CellStart(identity, self._fill, transfer.rate, transfer.rate_epochs)

    def _fill(self, cells: MixedCells) -> torch.Tensor:
        entry, tensors = self._source()
        source = {name.removeprefix(CELLS): value for name, value in tensors.items() if name.startswith(CELLS)}
        temperature = self.settings.transfer.temperature
        variation = start_architecture(cells, source, math.inf if temperature == "inf" else float(temperature))
        mask = source["architecture.mask"]
        self.print_to_log_file(
            f"Transfer: the logits of {len(mask)} cell graph(s) of the source, divided by {temperature}, are the start "
            f"of {len(cells.architecture.alpha)}; {int((~mask).sum())} operations that it pruned are active again."
        )
        self._say_what_differs(entry)
        if self.settings.transfer.weights:
            old = entry.facts.get("cell", {})
            report = transfer_cells(
                cells,
                source,
                same_second_input=old.get("second_input") == cells.shape.second_input,
                same_projection=old.get("projection", "zero") == cells.shape.projection,
            )
            self._tell("cells", report, CELLS_REPORT, entry)
        return variation

    def _say_what_differs(self, entry: Entry) -> None:
        cell, old = self.settings.cell, entry.facts.get("cell", {})
        smoothing, search = entry.facts.get("smoothing") or {}, self.settings.search
        pairs = {
            "search.perturbation": (smoothing.get("perturbation", "none"), search.perturbation),
            "cell.second_input": (old.get("second_input"), cell.second_input),
            "cell.width": (old.get("width"), cell.width),
            "cell.first_level": (old.get("first_level", 0), cell.first_level),
            "cell.projection": (old.get("projection", "zero"), cell.projection),
            "search.partial_channels": (entry.facts.get("partial_channels"), search.partial_channels),
        }
        if smoothing and search.perturbation != "none":
            pairs["search.perturbation_size"] = (smoothing.get("perturbation_size"), search.perturbation_size)
        for name, (before, now) in pairs.items():
            if before != now:
                self.print_to_log_file(f"WARNING: transfer: the source was searched with {name}={before}, not {now}.")

    def _tell(self, what: str, report: TransferReport, file: str, entry: Entry) -> None:
        self.print_to_log_file(f"Transfer: {what}, from {entry.name}; each tensor stands in {file}.")
        for line in report.table().splitlines()[-2:]:
            self.print_to_log_file(f"Transfer: {what}: {line}")
        if self.local_rank == 0:
            write_json(self._fold_folder / file, {"source": entry.id, **report.to_dict()})


def stored_choice(fold: Path) -> SourceChoice | None:
    """Return the source that was chosen in a fold, None if none was.

    Raises:
        ValueError: if the file is damaged.
    """
    path = fold / CHOICE
    if not path.is_file():
        return None
    try:
        return SourceChoice.from_dict(read_json(path))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{CHOICE}: expected the choice of a run, got a damaged file {path} ({error}); remove it to choose again"
        ) from error
