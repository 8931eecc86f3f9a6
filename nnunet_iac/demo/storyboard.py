"""The commands of ``nnunet-iac demo``: what is shown, as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.demo.runner import Step

PLANS = "nnUNetPlans_demo"
HOST = "nnUNetTrainerIACHost"
IMPLANT = "nnUNetTrainerIACImplant"
BATCH_SIZE = 12

SETTINGS = (
    "host.epochs=8",
    "host.iterations=20",
    "search.epochs=14",
    "search.iterations=3",
    "search.warmup_epochs=2",
    "search.drift=0.4",
    "training.epochs=4",
    "training.iterations=16",
    "training.validation_iterations=2",
)
"""A budget of minutes on two cores."""


@dataclass(frozen=True)
class Demo:
    """What is to be shown; all paths are relative to the demo's folder.

    Attributes:
        dataset: name of the data set, ``Dataset<three digits>_<name>``, without blanks.
        raw: nnU-Net raw data set, or None for the phantom.
        seed: of the phantom and of the search.
        device: ``cpu``, ``cuda`` or ``mps``.
    """

    dataset: str
    raw: str | None
    seed: int
    device: str

    @property
    def identifier(self) -> int:
        """The data set's number.

        Example:
            >>> Demo("Dataset004_Hippocampus", None, 0, "cpu").identifier
            4
        """
        return dataset_number(self.dataset)

    @property
    def raw_folder(self) -> Path:
        """The raw data set."""
        return Path("nnUNet_raw") / self.dataset

    @property
    def preprocessed_folder(self) -> Path:
        """The preprocessed data set."""
        return Path("nnUNet_preprocessed") / self.dataset

    def model_folder(self, trainer: str) -> Path:
        """The model folder of a trainer."""
        return Path("nnUNet_results") / self.dataset / f"{trainer}__{PLANS}__2d"

    @property
    def images(self) -> Path:
        """The images that are predicted: the phantom's test patients, or some validation cases of the real data."""
        return self.raw_folder / "imagesTs" if self.raw is None else Path("images")

    @property
    def labels(self) -> Path:
        """Their references."""
        return self.raw_folder / ("labelsTs" if self.raw is None else "labelsTr")


def build_steps(demo: Demo) -> list[Step]:
    """Return the commands of the demo, in order.

    Example:
        >>> demo = Demo("Dataset900_Phantom", None, 0, "cpu")
        >>> print(build_steps(demo)[4].line)
        nnUNetv2_train 900 2d 0 -tr nnUNetTrainerIACImplant -p nnUNetPlans_demo -device cpu
    """
    data = [_generate(demo)] if demo.raw is None else []
    return [*data, *_stock(demo), *_train(demo), *_show(demo)]


def _generate(demo: Demo) -> Step:
    return _step(
        "phantom",
        "Generate a phantom data set: hearts in short-axis view, two phases each",
        f"python -m nnunet_iac.demo.phantom {demo.raw_folder} --seed {demo.seed}",
        demo.raw_folder,
    )


def _stock(demo: Demo) -> list[Step]:
    derive = f"nnunet-iac configure -d {demo.identifier} -c 2d -p nnUNetPlans -o {PLANS} --overwrite"
    return [
        _step(
            "plan",
            "Plan and preprocess (stock nnU-Net)",
            f"nnUNetv2_plan_and_preprocess -d {demo.identifier} -c 2d --verify_dataset_integrity -npfp 2 -np 2",
            demo.preprocessed_folder,
        ),
        _step(
            "configure",
            "Derive plans with a budget of minutes",
            f"{derive} --batch-size {BATCH_SIZE} --set {' '.join(SETTINGS)} search.seed={demo.seed}",
            demo.preprocessed_folder / f"{PLANS}.json",
        ),
    ]


def _train(demo: Demo) -> list[Step]:
    command = f"nnUNetv2_train {demo.identifier} 2d 0 -tr {{}} -p {PLANS} -device {demo.device}"
    return [
        _step("host", "Train the host: nnU-Net, only shorter", command.format(HOST), demo.model_folder(HOST)),
        _step(
            "implant",
            "Implant: search cells with the host frozen, put them in, train both",
            command.format(IMPLANT),
            demo.model_folder(IMPLANT),
        ),
    ]


def _show(demo: Demo) -> list[Step]:
    model = f"-c 2d -f 0 -tr {IMPLANT} -p {PLANS} -device {demo.device}"
    references = f"--labels {demo.labels} --dataset {demo.raw_folder / 'dataset.json'}"
    return [
        _step(
            "predict",
            "Predict (stock nnU-Net)",
            f"nnUNetv2_predict -d {demo.identifier} -i {demo.images} -o predictions {model} -npp 1 -nps 1",
            Path("predictions"),
        ),
        _step(
            "overlays",
            "Draw the predictions",
            f"python -m nnunet_iac.reports.overlays {demo.images} predictions {references} -o overlays.png",
            Path("overlays.png"),
        ),
        _step(
            "report",
            "Report what the search did",
            f"nnunet-iac report {demo.model_folder(IMPLANT)} --fold 0 -o report.html",
            Path("report.html"),
            Path("report"),
        ),
    ]


def _step(name: str, title: str, command: str, *makes: Path) -> Step:
    return Step(name, title, tuple(command.split()), Path("logs") / f"{name}.txt", makes)
