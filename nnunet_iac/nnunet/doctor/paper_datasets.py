"""The four data sets of the papers: the exact commands from the download folder to the prediction.

The converters are nnU-Net's own (2.8.1, ``nnunetv2/dataset_conversion``); this module holds the commands as data,
so that ``nnunet-iac doctor --datasets`` prints them and the tests run the very same ones on tiny volumes.

Two converters need help: the one of ACDC crashes in 2.8.1 (it treats ``nnunetv2.paths.nnUNet_raw`` as a text, which
it no longer is), and the one of BraTS has its author's folder written into it and no arguments. Neither command
changes the installation of nnU-Net.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

STOCK_TRAINER = "nnUNetTrainer"
IMPLANT_TRAINER = "nnUNetTrainerIACImplant"
ONE_GO_TRAINER = "nnUNetTrainerIAC"


@dataclass(frozen=True)
class Step:
    """One step of the way: what it does and its commands, in order, for a POSIX shell."""

    title: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class PaperDataset:
    """One data set: where it comes from, how it becomes an nnU-Net data set, what the network predicts.

    Attributes:
        name: the name used by ``nnunet-iac doctor --datasets``.
        dataset_id: nnU-Net's number; the converter's default.
        folder: the folder's name below ``nnUNet_raw``, as the converter writes it.
        placeholders: what stands for what in the commands; keys in capitals.
        conversion: the steps from the download to ``nnUNet_raw`` (images to predict included).
        grouping: further steps after preprocessing.
        after_prediction: steps that only this data set needs at the end.
        outputs: what the network's output channels are, in words.
        output_channels: how many: regions for region-based sets, otherwise labels with background.
    """

    name: str
    dataset_id: int
    folder: str
    placeholders: Mapping[str, str]
    conversion: tuple[Step, ...]
    outputs: str
    output_channels: int
    grouping: tuple[Step, ...] = ()
    after_prediction: tuple[Step, ...] = ()


_ACDC = PaperDataset(
    name="ACDC",
    dataset_id=27,
    folder="Dataset027_ACDC",
    placeholders=MappingProxyType({"ACDC_FOLDER": "the unpacked download: training/patient001/… and testing/…"}),
    conversion=(
        Step(
            "Convert (around the crash of the converter in nnU-Net 2.8.1); writes a patient-wise splits_final.json",
            (
                'python -c "import os, runpy, nnunetv2.paths as p; '
                "p.nnUNet_raw = os.environ['nnUNet_raw']; p.nnUNet_preprocessed = os.environ['nnUNet_preprocessed']; "
                "runpy.run_module('nnunetv2.dataset_conversion.Dataset027_ACDC', run_name='__main__')\" "
                '-i "ACDC_FOLDER"',
            ),
        ),
    ),
    grouping=(
        Step(
            "Keep the two phases of a patient together in the search as well",
            (
                'python -c "import json, os, pathlib; '
                "cases = sorted(f.name[:-7] for f in "
                "pathlib.Path(os.environ['nnUNet_raw'], 'Dataset027_ACDC', 'labelsTr').glob('*.nii.gz')); "
                "groups = {c[:10]: [d for d in cases if d[:10] == c[:10]] for c in cases}; "
                "pathlib.Path(os.environ['nnUNet_preprocessed'], 'Dataset027_ACDC', 'patient_groups.json')"
                '.write_text(json.dumps(groups, indent=1))"',
            ),
        ),
    ),
    outputs="softmax over background, RV, MLV, LVC",
    output_channels=4,
)

_BRATS = PaperDataset(
    name="BraTS",
    dataset_id=137,
    folder="Dataset137_BraTS2021",
    placeholders=MappingProxyType(
        {
            "BRATS_FOLDER": "the unpacked training data: BraTS2021_00000/BraTS2021_00000_t1.nii.gz, …_t1ce, …_t2, "
            "…_flair, …_seg",
            "BRATS_NEW_FOLDER": "patients to predict, in the same layout, without …_seg",
            "BRATS_LABELS_FOLDER": "where the masks go with the labels of BraTS",
        }
    ),
    conversion=(
        Step(
            "Convert: nnU-Net's converter with your folder in place of its author's (a copy of it, in this folder)",
            (
                "sed \"s|^    brats_data_dir = .*|    brats_data_dir = 'BRATS_FOLDER'|\" "
                '"$(python -c "import nnunetv2.dataset_conversion as d; print(d.__path__[0])")/Dataset137_BraTS21.py" '
                "> convert_brats.py",
                "python convert_brats.py",
            ),
        ),
        Step(
            "Name the images to predict as nnU-Net expects them",
            (
                'mkdir -p "$nnUNet_raw/Dataset137_BraTS2021/imagesTs"',
                'for c in "BRATS_NEW_FOLDER"/BraTS*; do n=$(basename "$c"); i=0; for m in t1 t1ce t2 flair; do '
                'cp "$c/${n}_$m.nii.gz" "$nnUNet_raw/Dataset137_BraTS2021/imagesTs/${n}_000$i.nii.gz"; '
                "i=$((i+1)); done; done",
            ),
        ),
    ),
    after_prediction=(
        Step(
            "Write the predictions with the labels of BraTS again (1, 2, 4)",
            (
                'python -c "from nnunetv2.dataset_conversion import Dataset137_BraTS21 as b; '
                "b.convert_folder_with_preds_back_to_BraTS_labeling_convention("
                "'PREDICTIONS_FOLDER', 'BRATS_LABELS_FOLDER', 4)\"",
            ),
        ),
    ),
    outputs="sigmoid over three nested regions: whole tumor, tumor core, enhancing tumor",
    output_channels=3,
)

_KITS = PaperDataset(
    name="KiTS",
    dataset_id=220,
    folder="Dataset220_KiTS2023",
    placeholders=MappingProxyType(
        {
            "KITS_FOLDER": "the folder `dataset` of the kits23 download: case_00000/imaging.nii.gz and "
            "segmentation.nii.gz",
            "KITS_NEW_FOLDER": "patients to predict: case_…/imaging.nii.gz",
        }
    ),
    conversion=(
        Step("Convert", ('python -m nnunetv2.dataset_conversion.Dataset220_KiTS2023 "KITS_FOLDER"',)),
        Step(
            "Name the images to predict as nnU-Net expects them",
            (
                'mkdir -p "$nnUNet_raw/Dataset220_KiTS2023/imagesTs"',
                'for c in "KITS_NEW_FOLDER"/case_*; do cp "$c/imaging.nii.gz" '
                '"$nnUNet_raw/Dataset220_KiTS2023/imagesTs/$(basename "$c")_0000.nii.gz"; done',
            ),
        ),
    ),
    outputs="sigmoid over three regions: kidney, masses, tumor (painted in the order kidney 1, masses 3, tumor 2)",
    output_channels=3,
)

_AMOS = PaperDataset(
    name="AMOS",
    dataset_id=218,
    folder="Dataset218_AMOS2022_postChallenge_task1",
    placeholders=MappingProxyType(
        {"AMOS_FOLDER": "the unpacked amos22: dataset.json, imagesTr, labelsTr, imagesVa, labelsVa, imagesTs"}
    ),
    conversion=(
        Step(
            "Convert (CT only; the released validation cases join the training cases)",
            ('python -m nnunetv2.dataset_conversion.Dataset218_Amos2022_task1 "AMOS_FOLDER"',),
        ),
    ),
    outputs="softmax over background and 15 organs",
    output_channels=16,
)

PAPER_DATASETS: Mapping[str, PaperDataset] = MappingProxyType(
    {dataset.name: dataset for dataset in (_ACDC, _BRATS, _KITS, _AMOS)}
)
"""The four data sets by name."""


def steps(dataset: PaperDataset) -> tuple[Step, ...]:
    """Return every step from the download folder to the prediction, in order.

    Example:
        >>> for step in steps(PAPER_DATASETS["KiTS"])[-2:]:
        ...     print(step.commands[0])
        nnUNetv2_train 220 2d 0 -tr nnUNetTrainerIAC
        nnUNetv2_predict -d 220 -c 2d -f 0 -tr nnUNetTrainerIACImplant -i "$nnUNet_raw/Dataset220_KiTS2023/imagesTs" \
-o "PREDICTIONS_FOLDER"
    """
    return (
        *dataset.conversion,
        plan_step(dataset),
        *dataset.grouping,
        Step("Show nnU-Net our trainers", ('export nnUNet_extTrainer="$(nnunet-iac trainers)"',)),
        Step("Train the stock host (or keep the one you have)", (train_command(dataset, STOCK_TRAINER),)),
        Step("Upgrade it: search cells with the host frozen, train both", (train_command(dataset, IMPLANT_TRAINER),)),
        Step("Or, without a host: host, search and training in one go", (train_command(dataset, ONE_GO_TRAINER),)),
        Step("Predict (-tr: the trainer you took)", (predict_command(dataset, IMPLANT_TRAINER),)),
        *dataset.after_prediction,
    )


def plan_step(dataset: PaperDataset) -> Step:
    """Return the step that plans and preprocesses."""
    command = f"nnUNetv2_plan_and_preprocess -d {dataset.dataset_id} -c 2d --verify_dataset_integrity"
    return Step("Plan and preprocess", (command,))


def train_command(dataset: PaperDataset, trainer: str) -> str:
    """Return the command that trains fold 0 of the 2d configuration with ``trainer``.

    Example:
        >>> train_command(PAPER_DATASETS["ACDC"], STOCK_TRAINER)
        'nnUNetv2_train 27 2d 0'
    """
    option = "" if trainer == STOCK_TRAINER else f" -tr {trainer}"
    return f"nnUNetv2_train {dataset.dataset_id} 2d 0{option}"


def predict_command(dataset: PaperDataset, trainer: str) -> str:
    """Return the stock command that predicts the images in ``imagesTs`` with fold 0 of ``trainer``."""
    images = f"$nnUNet_raw/{dataset.folder}/imagesTs"
    return f'nnUNetv2_predict -d {dataset.dataset_id} -c 2d -f 0 -tr {trainer} -i "{images}" -o "PREDICTIONS_FOLDER"'


def describe(dataset: PaperDataset) -> str:
    """Return the commands as text: comments start with ``#``, so that the whole can be pasted into a shell script.

    Example:
        >>> print(describe(PAPER_DATASETS["AMOS"]).splitlines()[0])
        # AMOS: Dataset218_AMOS2022_postChallenge_task1; softmax over background and 15 organs (16 output channels)
    """
    heading = f"# {dataset.name}: {dataset.folder}; {dataset.outputs} ({dataset.output_channels} output channels)"
    placeholders = {**dataset.placeholders, "PREDICTIONS_FOLDER": "where the masks go"}
    lines = [heading, "# Fold 0; folds 1 to 4 likewise (without -f, nnUNetv2_predict averages all five). Replace:"]
    lines += [f"#   {name}: {meaning}" for name, meaning in placeholders.items()]
    for number, step in enumerate(steps(dataset), start=1):
        lines += [f"# {number}. {step.title}", *step.commands]
    return "\n".join(lines)
