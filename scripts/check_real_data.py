"""The whole chain on real data sets: plan, configure, train, predict, export, install, predict again: same masks.

    python scripts/check_real_data.py ../shared/data --folder WORK

Runs nnU-Net's own commands and prints one line for each data set: seconds, the Dice of the tiny budget (it proves the
chain, not an accuracy), and whether the masks of the re-installed model are identical, voxel by voxel. Data sets that
are absent are named. Finished data sets are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_iac.dataset_names import dataset_number
from nnunet_iac.markdown import table_text

BUDGET = (
    "host.epochs=2 host.iterations=3 search.epochs=4 search.warmup_epochs=1 search.iterations=2 "
    "training.epochs=2 training.iterations=3 training.validation_iterations=1"
).split()


@dataclass(frozen=True)
class Chain:
    """One data set in one configuration; ``regions`` takes the region-based variant of its dataset.json."""

    dataset: str
    configuration: str
    batch_size: int
    regions: bool = False

    @property
    def number(self) -> str:
        """nnU-Net's id of the data set."""
        return str(dataset_number(self.dataset))

    @property
    def name(self) -> str:
        """Name for the table."""
        return f"{self.dataset} {self.configuration}{' regions' if self.regions else ''}"


CHAINS = (
    Chain("Dataset004_Hippocampus", "2d", 8),
    Chain("Dataset004_Hippocampus", "3d_fullres", 2),
    Chain("Dataset501_ACDC", "2d", 2),
    Chain("Dataset502_BraTS15mini", "2d", 2, regions=True),
    Chain("Dataset503_BraTSMSD2D", "2d", 2),
    Chain("Dataset508_DSB18nuclei", "2d", 2),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chains that are not finished and print the table; the status is 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the raw data sets")
    parser.add_argument("--folder", type=Path, required=True, help="where to work")
    parser.add_argument("--threads", type=int, help="threads of nnU-Net's commands (default: one for each core)")
    parser.add_argument("--only", nargs="+", help="parts of the names to run")
    args = parser.parse_args(argv)
    chains = [c for c in CHAINS if not args.only or any(part in c.name for part in args.only)]
    rows = [_row(chain, args.data, args.folder.resolve(), args.threads) for chain in chains]
    print(table_text(["data set", "seconds", "Dice (tiny budget)", "re-installed model predicts"], rows))
    return 1 if any("FAILED" in cell or "DIFFERENT" in cell for row in rows for cell in row) else 0


def _row(chain: Chain, data: Path, folder: Path, threads: int | None) -> list[str]:
    if not (data / chain.dataset).is_dir():
        return [chain.name, "absent", "", ""]
    record = folder / f"{chain.name.replace(' ', '_')}.json"
    if not record.is_file():
        try:
            result = _run(chain, data, folder / chain.name.replace(" ", "_"), threads)
        except subprocess.CalledProcessError as error:
            return [chain.name, f"FAILED: {' '.join(map(str, error.cmd))}", "", ""]
        record.write_text(json.dumps(result), encoding="utf-8")
    found = json.loads(record.read_text(encoding="utf-8"))
    same = "identical masks" if found["identical"] else "DIFFERENT masks"
    return [chain.name, f"{found['seconds']:.0f}", f"{found['dice']:.3f}", f"{same} ({found['masks']})"]


def _run(chain: Chain, data: Path, folder: Path, threads: int | None) -> dict[str, float | bool]:
    started = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    environment = _environment(folder, threads)
    raw = folder / "raw" / chain.dataset
    shutil.copytree(data / chain.dataset, raw)
    raw.chmod(0o755)
    if chain.regions:
        shutil.copyfile(raw / "dataset_regions.json", raw / "dataset.json")
    log = folder / "log.txt"

    def command(*words: str, **extra: str) -> None:
        program = Path(sys.executable).with_name(words[0])
        with log.open("a", encoding="utf-8") as file:
            subprocess.run([program, *words[1:]], check=True, stdout=file, stderr=file, env={**environment, **extra})

    target = ("-d", chain.number, "-c", chain.configuration)
    model = ("-f", "0", "-tr", "nnUNetTrainerIAC", "-p", "nnUNetPlans_check")
    device = ("-device", "cpu")
    command("nnUNetv2_plan_and_preprocess", *target, "-np", "2", "--verify_dataset_integrity")
    batch = ("--batch-size", str(chain.batch_size))
    command("nnunet-iac", "configure", *target, "-o", "nnUNetPlans_check", *batch, "--set", *BUDGET)
    command("nnUNetv2_train", chain.number, chain.configuration, "0", *model[2:], *device)
    images = _some_images(raw, folder / "images")
    predict = (
        "nnUNetv2_predict",
        *target,
        *model,
        *device,
        "-i",
        str(images),
        "--disable_tta",
        "-npp",
        "1",
        "-nps",
        "1",
    )
    command(*predict, "-o", str(folder / "first"))
    archive = str(folder / "model.zip")
    command("nnUNetv2_export_model_to_zip", *target, *model, "-o", archive)
    installed = str(folder / "installed")
    os.mkdir(installed)
    command("nnUNetv2_install_pretrained_model_from_zip", archive, nnUNet_results=installed)
    command(*predict, "-o", str(folder / "second"), nnUNet_results=installed)
    masks, identical = _compare(folder / "first", folder / "second", _ending(raw))
    summary = next((folder / "results").glob("*/*/fold_0/validation/summary.json"))
    dice = json.loads(summary.read_text(encoding="utf-8"))["foreground_mean"]["Dice"]
    return {
        "seconds": time.perf_counter() - started,
        "dice": dice,
        "masks": masks,
        "identical": identical,
    }


def _environment(folder: Path, threads: int | None) -> Mapping[str, str]:
    from nnunet_iac.cli.trainers import trainers_folder

    places = {f"nnUNet_{name}": folder / name for name in ("raw", "preprocessed", "results")}
    for place in places.values():
        place.mkdir(parents=True)
    limited = {}
    if threads is not None:
        # nnU-Net takes a thread for every core it counts and has no option for fewer.
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(f"import os\nos.cpu_count = lambda: {threads}\n")
        paths = [str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
        limited = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(threads)}
    return {
        **os.environ,
        **limited,
        **{name: str(place) for name, place in places.items()},
        "nnUNet_extTrainer": str(trainers_folder()),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "2",
    }


def _ending(raw: Path) -> str:
    return str(json.loads((raw / "dataset.json").read_text(encoding="utf-8"))["file_ending"])


def _some_images(raw: Path, target: Path, count: int = 1) -> Path:
    target.mkdir()
    ending = _ending(raw)
    cases = sorted({p.name[: -len("_0000") - len(ending)] for p in (raw / "imagesTr").glob(f"*{ending}")})[:count]
    for case in cases:
        for path in (raw / "imagesTr").glob(f"{case}_????{ending}"):
            shutil.copy(path, target)
    return target


def _compare(first: Path, second: Path, ending: str) -> tuple[int, bool]:
    import numpy as np
    import SimpleITK

    names = sorted(p.name for p in first.glob(f"*{ending}"))
    arrays = [
        [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / name))) for name in names]
        for folder in (first, second)
    ]
    same = [np.array_equal(a, b) for a, b in zip(*arrays, strict=True)]
    return len(names), bool(names) and all(same)


if __name__ == "__main__":
    sys.exit(main())
