"""``nnUNetTrainerMedNNS``: a stock training of the depths, widths and weights that ``nnunet-iac retrieve`` chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_iac.json_files import read_json
from nnunet_iac.nnunet.files.hosts import read_checkpoint, results_folder
from nnunet_iac.nnunet.files.model_folder import RECORD
from nnunet_iac.nnunet.files.plans import Plans, names_of
from nnunet_iac.nnunet.training.trainers import IACTrainer

START = "checkpoint_retrieved.pth"
"""In the folder of a retrieval: the weights to start from; none for an outlier."""

SCHEMA = 1


class RetrievedTrainer(IACTrainer):
    """Trains for ``host.epochs``, as ``nnUNetTrainerIACHost`` does, from what was retrieved for these very plans.

    A target that is no relative of any source starts from nnU-Net's own initialisation, and the log says so. Weights
    given with ``-pretrained_weights`` come on top and win. Where a checkpoint of this training is loaded (``--c``,
    ``--val``), nothing else is looked for.
    """

    def load_start(self) -> None:
        """Load what was retrieved.

        Raises:
            FileNotFoundError: if nothing was retrieved for these plans.
            ValueError: if a file is damaged, or the start is of another architecture.
        """
        start_from(self, find_retrieval(results_folder(), self.plans_manager.plans, self.configuration_name))


def start_from(trainer: IACTrainer, folder: Path) -> None:
    """Load the start of a retrieval into a trainer's network, or say why it keeps its own.

    Raises:
        ValueError: if a file is damaged, or the start is of another architecture.
    """
    record, log = read_record(folder), trainer.print_to_log_file
    if record["fold"] != trainer.fold != "all":
        log(
            f"NOTE: retrieved by the training images of fold {record['fold']}; validation images of fold "
            f"{trainer.fold} may be among them. The choice saw them and where their labels are, and with T5 or T10 how "
            "well candidates segment them; the weights that are started from did not."
        )
    if record["outlier"]:
        log(f"Start: nnU-Net's own initialisation. {record['why']}")
        return
    path = folder / START
    weights = read_checkpoint(path, trainer.device)["network_weights"]
    try:
        trainer.cell_network.load_state_dict(weights)
    except RuntimeError as error:  # torch's answer to other keys and shapes
        raise ValueError(
            f"start: expected the architecture of the plans, got another one in {path} "
            f"({str(error).splitlines()[-1].strip()}); retrieve for these plans again with nnunet-iac retrieve"
        ) from error
    trainer.remember_start()
    log(f"Start: {record['why']} Weights of {path}")


def retrieval_folder(results: Path, dataset: str, plans_name: str, configuration: str) -> Path:
    """Return where ``nnunet-iac retrieve`` writes what it found for the plans that it makes.

    Example:
        >>> retrieval_folder(Path("results"), "Dataset501_ACDC", "nnUNetPlans_retrieved", "2d").as_posix()
        'results/Dataset501_ACDC/retrieval__nnUNetPlans_retrieved__2d'
    """
    return results / dataset / f"retrieval__{plans_name}__{configuration}"


def find_retrieval(results: Path, plans: Plans, configuration: str) -> Path:
    """Return the folder of the retrieval for these plans, or for those that they were derived from.

    Raises:
        FileNotFoundError: if there is none; the message says what to run.
    """
    names = names_of(plans)
    folders = [retrieval_folder(results, plans["dataset_name"], name, configuration) for name in names]
    for folder in folders:
        if (folder / RECORD).is_file():
            return folder
    raise FileNotFoundError(
        f"retrieval: expected one in {[str(folder) for folder in folders]}, found none; run nnunet-iac retrieve -d "
        f"{plans['dataset_name']} -c {configuration} and train the plans that it writes with -p"
    )


def read_record(folder: Path) -> dict[str, Any]:
    """Return what ``nnunet-iac retrieve`` wrote.

    Raises:
        ValueError: if the record is damaged or of another version.
    """
    path = folder / RECORD
    try:
        record = dict(read_json(path))
        version, _ = record["schema"], (record["outlier"], record["why"], record["fold"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the record of a retrieval, got a damaged file ({error!r}); retrieve again"
        ) from error
    if version != SCHEMA:
        raise ValueError(f"{path}: expected version {SCHEMA} of a retrieval, got {version}; retrieve again")
    return record
