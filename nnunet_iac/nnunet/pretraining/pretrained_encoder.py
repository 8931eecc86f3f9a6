"""``nnUNetTrainerPretrainedEncoder``: a stock training that starts from the encoder of ``nnunet-iac pretrain``."""

from __future__ import annotations

from pathlib import Path

from nnunet_iac.nnunet.files.hosts import read_checkpoint, results_folder
from nnunet_iac.nnunet.files.plans import Plans, names_of
from nnunet_iac.nnunet.files.weights import PROVENANCE
from nnunet_iac.nnunet.pretraining.pretraining_files import CHECKPOINT
from nnunet_iac.nnunet.training.trainers import IACTrainer


class PretrainedEncoderTrainer(IACTrainer):
    """Trains for ``host.epochs``, as ``nnUNetTrainerIACHost`` does, from a pretrained encoder.

    The decoder starts from the same seeded draw as without pretraining, so that runs differ in the encoder alone.
    Weights given with ``-pretrained_weights`` come on top and win. Where a checkpoint of this training is loaded
    (``--c``, ``--val``), nothing else is looked for.
    """

    def load_start(self) -> None:
        """Load the encoder.

        Raises:
            FileNotFoundError: if nothing was pretrained for these plans.
            ValueError: if the checkpoint is damaged or of another architecture.
        """
        self._load_encoder(find_pretrained(results_folder(), self.plans_manager.plans, self.configuration_name))

    def _load_encoder(self, path: Path) -> None:
        checkpoint, network = read_checkpoint(path, self.device), self.cell_network
        weights = {
            key.removeprefix("encoder."): value
            for key, value in checkpoint["network_weights"].items()
            if key.startswith("encoder.")
        }
        try:
            network.encoder.load_state_dict(weights)
        except RuntimeError as error:  # torch's answer to other keys and shapes
            raise ValueError(
                f"encoder: expected the architecture of the plans, got another one in {path} "
                f"({str(error).splitlines()[-1].strip()}); pretrain for these plans with nnunet-iac pretrain"
            ) from error
        self.remember_start()
        self.print_to_log_file(f"Encoder: weights of {path}")
        watched = checkpoint.get(PROVENANCE, {}).get("pretraining", {}).get("watch", {}).get("fold", self.fold)
        if watched != self.fold != "all":
            self.print_to_log_file(
                f"NOTE: its pretraining was watched on the training images of fold {watched}; validation images of "
                f"fold {self.fold} may be among them (no training saw them, the choice of the epoch did)."
            )


def pretraining_folder(results: Path, dataset: str, plans_name: str, configuration: str) -> Path:
    """Return where ``nnunet-iac pretrain`` writes.

    Example:
        >>> pretraining_folder(Path("results"), "Dataset501_ACDC", "nnUNetPlans", "2d").as_posix()
        'results/Dataset501_ACDC/pretraining__nnUNetPlans__2d'
    """
    return results / dataset / f"pretraining__{plans_name}__{configuration}"


def find_pretrained(results: Path, plans: Plans, configuration: str) -> Path:
    """Return the checkpoint pretrained for these plans, or for those that they were derived from.

    Raises:
        FileNotFoundError: if there is none; the message says what to run.
    """
    names = names_of(plans)
    dataset = plans["dataset_name"]
    candidates = [pretraining_folder(results, dataset, name, configuration) / CHECKPOINT for name in names]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"encoder: expected a pretrained one in {[str(path) for path in candidates]}, found none; run "
        f"nnunet-iac pretrain -d {dataset} -c {configuration} -p {names[-1]} with --images or --datasets"
    )
