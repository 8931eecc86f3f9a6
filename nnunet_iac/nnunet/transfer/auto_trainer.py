"""One flag from a zoo to trained cells: retrieve, initialise, train the host, search, implant, train.

Every decision stands in nnU-Net's log in plain words, each line with "Auto:" before it, and in files: the retrieval in
the model's folder ``retrieval/``, the search that the cells start from in ``transfer.json`` of the fold.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_iac.atomic import write_json
from nnunet_iac.metaspace.chosen_space import SpaceWish
from nnunet_iac.metaspace.fitting import FEWEST
from nnunet_iac.metaspace.settings import LOSSES, FitSettings
from nnunet_iac.metaspace.zoo_tasks import read_tasks
from nnunet_iac.nnunet.cases.image_samples import prepared_data
from nnunet_iac.nnunet.files.model_folder import PLANS, RECORD, RETRIEVAL
from nnunet_iac.nnunet.files.plans import configuration_of, read_plans
from nnunet_iac.nnunet.retrieval.retrieval import retrieve
from nnunet_iac.nnunet.retrieval.retrieval_request import Request
from nnunet_iac.nnunet.retrieval.retrieval_target import Target, fitting_tasks, retrieval_target
from nnunet_iac.nnunet.retrieval.retrieved_trainer import SCHEMA, read_record, start_from
from nnunet_iac.nnunet.transfer.nearest_source import NoSourceError, SourceChoice
from nnunet_iac.nnunet.transfer.transfer_trainer import TransferTrainer
from nnunet_iac.zoo.candidates_entries import SUBNETWORKS
from nnunet_iac.zoo.costs import Limits
from nnunet_iac.zoo.entries import Query


class AutoTrainer(TransferTrainer):
    """:class:`TransferTrainer` whose network and first weights are retrieved from ``transfer.zoo`` too.

    All folds of a model share what its first fold retrieved. A target without relatives in the zoo keeps nnU-Net's
    network and initialisation and searches from a fresh draw, unless ``retrieval.anyway`` is set; a zoo without
    supernets or without searches leaves out that step, and the log says so.
    """

    def initialize(self) -> None:
        """Retrieve, unless a fold of this model did; then build the retrieved network.

        Raises:
            FileNotFoundError: if there is no zoo, or the data set is not preprocessed.
            ValueError: if no zoo is set, or no candidate is within the limits of the settings.
            NotImplementedError: for T5 and T10 under DDP.
        """
        with self._locked("retrieval.lock", "Waiting for another fold that retrieves"):
            self._of_first_rank(self._settle_retrieval)
        record = read_record(self._retrieval_folder)
        if not record["outlier"]:
            self._adopt_architecture()
        super().initialize()

    def load_start(self) -> None:
        """Load the retrieved weights, or say why nnU-Net's own initialisation stays."""
        start_from(self, self._retrieval_folder)

    @property
    def _retrieval_folder(self) -> Path:
        return self._model_folder / RETRIEVAL

    def _say(self, text: str) -> None:
        self.print_to_log_file(f"Auto: {text}")

    # --- the network --------------------------------------------------------------------------------------------

    def _settle_retrieval(self) -> None:
        """Retrieve, unless a fold of this model did; that nothing could be retrieved is written down as well."""
        if (self._retrieval_folder / RECORD).is_file():
            return
        zoo, request = self._zoo(), self._request()
        if self.is_ddp and request.protocol != "T1":
            raise NotImplementedError(
                f"retrieval.protocol: expected T1 with -num_gpus above 1, got {request.protocol}; train the first fold "
                "on one GPU until its host has begun, or retrieve with nnunet-iac retrieve"
            )
        if not zoo.entries(Query(SUBNETWORKS)):
            self._retrieve_nothing(f"{zoo.place.name} has no supernets")
            return
        target = self._retrieval_target(request)
        tasks = fitting_tasks(read_tasks(zoo, skipped=self._say), target, self._say)
        if len({task.dataset for task in tasks}) < FEWEST:
            self._retrieve_nothing(f"{zoo.place.name} has fewer than {FEWEST} data sets that can serve this one")
            return
        # The lock is held, so trainings of other candidates are those of a run that was killed.
        retrieve(zoo, tasks, target, request, self._say, replace=True)

    def _retrieve_nothing(self, reason: str) -> None:
        why = f"{reason}; network and initialisation are those of the plans."
        self._say(why)
        self._retrieval_folder.mkdir(parents=True, exist_ok=True)
        record = {"schema": SCHEMA, "outlier": True, "why": why, "fold": self.fold, "searched": False}
        write_json(self._retrieval_folder / RECORD, record)

    def _request(self) -> Request:
        wanted = self.settings.retrieval
        protocol = wanted.protocol or ("T1" if self.is_ddp else "T5")
        if wanted.protocol is None and self.is_ddp:
            self._say(
                "WARNING: retrieval.protocol: T1, since candidates do not train with -num_gpus above 1, so nobody asks "
                "the target whether the weights suit it. To ask it, train the first fold on one GPU until its host has "
                "begun; to silence this, set retrieval.protocol=T1"
            )
        limits = Limits(wanted.max_params, wanted.max_macs, wanted.max_latency_ms, wanted.max_memory_mb)
        return Request(
            protocol=protocol,
            limits=limits,
            most=wanted.most,
            iterations=wanted.iterations,
            seed=self.settings.search.seed,
            device=str(self.device),
            anyway=wanted.anyway,
            order=wanted.order,
            space=SpaceWish(
                FitSettings(**{name: getattr(wanted, name) for name in (*LOSSES, "remoteness")}), wanted.space or ""
            ),
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
        record = read_record(self._retrieval_folder)
        if record["outlier"] and "nearness" in record:
            self._say("the cells are searched from a fresh draw: no data set of the zoo is near.")
            return None
        try:
            return super()._choose()
        except NoSourceError as error:
            self._say(f"the cells are searched from a fresh draw: no search of the zoo serves. {error}")
            return None

    def _transfer_host(self) -> None:
        if read_record(self._retrieval_folder)["outlier"]:
            self._say("the host starts as nnU-Net initialises it.")
        else:
            self._say("the host starts from what was retrieved, not from the host of a search.")
