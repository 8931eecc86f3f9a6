"""One flag from a zoo to trained cells: retrieve, initialise, train the host, search, implant, train.

Every decision stands in nnU-Net's log in plain words, each line with "Auto:" before it, and in files: the retrieval in
the model's folder ``retrieval/``, the search that the cells start from in ``transfer.json`` of the fold.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_iac.metaspace.zoo_tasks import read_tasks
from nnunet_iac.nnunet.image_samples import prepared_data
from nnunet_iac.nnunet.nearest_source import SourceChoice
from nnunet_iac.nnunet.plans import configuration_of, read_plans
from nnunet_iac.nnunet.retrieval import Request, retrieve
from nnunet_iac.nnunet.retrieval_target import Target, fitting_tasks, retrieval_target
from nnunet_iac.nnunet.retrieved_trainer import RECORD, read_record, start_from
from nnunet_iac.nnunet.transfer_trainer import TransferTrainer
from nnunet_iac.search.search import STATE
from nnunet_iac.zoo.candidates_entries import SUBNETWORKS
from nnunet_iac.zoo.costs import Limits
from nnunet_iac.zoo.entries import Query

RETRIEVAL, PLANS = "retrieval", "plans.json"
"""Folder in the model's folder, and the plans with the retrieved architecture in it."""


class AutoTrainer(TransferTrainer):
    """:class:`TransferTrainer` whose network and first weights are retrieved from ``transfer.zoo`` too.

    All folds of a model share what its first fold retrieved. A target without relatives in the zoo keeps nnU-Net's
    network and initialisation and searches from a fresh draw; a zoo without supernets or without searches leaves out
    that step, and the log says so.
    """

    _restoring = False

    def initialize(self) -> None:
        """Retrieve, unless a fold of this model did; then build the retrieved network and load its start.

        Raises:
            FileNotFoundError: if there is no zoo, or the data set is not preprocessed.
            ValueError: if no zoo is set, or no candidate is within the limits of the settings.
            NotImplementedError: for T5 and T10 under DDP.
        """
        with self._locked("retrieval.lock", "Waiting for another fold that retrieves"):
            retrieved = self._of_first_rank(self._settle_retrieval)
        if retrieved:
            self._adopt_architecture()
        super().initialize()
        if retrieved and not self._restoring:
            start_from(self, self._retrieval_folder)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """Load a checkpoint of this training; it has trained weights."""
        self._restoring = True
        super().load_checkpoint(filename_or_checkpoint)

    @property
    def _retrieval_folder(self) -> Path:
        return self._model_folder / RETRIEVAL

    @property
    def _is_outlier(self) -> bool:
        is_there = (self._retrieval_folder / RECORD).is_file()
        return is_there and bool(read_record(self._retrieval_folder)["outlier"])

    def _say(self, text: str) -> None:
        self.print_to_log_file(f"Auto: {text}")

    # --- the network --------------------------------------------------------------------------------------------

    def _settle_retrieval(self) -> bool:
        """Retrieve unless it is done; return whether there is a retrieval."""
        if (self._retrieval_folder / RECORD).is_file():
            return True
        zoo = self._zoo()
        if not zoo.entries(Query(SUBNETWORKS)):
            self._say(f"{zoo.place.name} has no supernets; network and initialisation are those of the plans.")
            return False
        request = self._request()
        if self.is_ddp and request.protocol != "T1":
            raise NotImplementedError(
                f"retrieval.protocol: expected T1 with -num_gpus above 1, got {request.protocol}; train the first fold "
                "on one GPU until its host has begun, or retrieve with nnunet-iac retrieve"
            )
        target = self._retrieval_target(request)
        retrieve(zoo, fitting_tasks(read_tasks(zoo), target, self._say), target, request, self._say)
        return True

    def _request(self) -> Request:
        wanted = self.settings.retrieval
        limits = Limits(wanted.max_params, wanted.max_macs, wanted.max_latency_ms, wanted.max_memory_mb)
        return Request(
            protocol=wanted.protocol,
            limits=limits,
            iterations=wanted.iterations,
            seed=self.settings.search.seed,
            device=str(self.device),
        )

    def _retrieval_target(self, request: Request) -> Target:
        plans = self.plans_manager.plans
        data = prepared_data(plans["dataset_name"], self.configuration_name, plans["plans_name"], fold=self.fold)
        return retrieval_target(
            data,
            self.fold,
            name=plans["plans_name"],
            plans_path=self._retrieval_folder / PLANS,
            folder=self._retrieval_folder,
            patches=self.settings.retrieval.patches,
            share=self.settings.retrieval.share,
            seed=request.seed,
            device=request.device,
        )

    def _adopt_architecture(self) -> None:
        """Put the retrieved architecture into the plans that this training keeps and leaves behind."""
        found = configuration_of(read_plans(self._retrieval_folder / PLANS), self.configuration_name)
        plans = deepcopy(self.plans_manager.plans)
        plans["configurations"][self.configuration_name]["architecture"] = found["architecture"]
        self.plans_manager = PlansManager(plans)
        self.my_init_kwargs["plans"] = plans

    # --- the search ---------------------------------------------------------------------------------------------

    def _choose(self) -> SourceChoice | None:
        if self._is_outlier:
            self._say("the cells are searched from a fresh draw: no data set of the zoo is near.")
            return None
        if self.resume and (self._fold_folder / STATE).is_file():
            return None  # that search began from a fresh draw
        try:
            return super()._choose()
        except ValueError as error:
            self._say(f"the cells are searched from a fresh draw: no search of the zoo serves. {error}")
            return None

    def _transfer_host(self) -> None:
        if (self._retrieval_folder / RECORD).is_file():
            self._say("the host starts from what was retrieved, not from the host of a search.")
        elif self._choice is not None:
            super()._transfer_host()
