"""``nnunet-iac demo``: the whole story with the real commands, on a phantom in minutes or on your own data."""

from __future__ import annotations

import argparse
import re
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_iac.atomic import write_json
from nnunet_iac.cli.arguments import output_path
from nnunet_iac.demo.runner import MARKERS, StepError, run_steps
from nnunet_iac.demo.storyboard import HOST, IMPLANT, Demo, build_steps
from nnunet_iac.json_files import read_json

HELP = "run the whole story (plan, train, implant, predict, report) on a phantom data set, minutes on 2 cores"

PHANTOM = "Dataset900_Phantom"
RECORD = "demo.json"
PREDICTED = 4
"""Images of a ``--raw`` data set that are predicted (the phantom has images of its own for that)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the demo works and on what."""
    parser.add_argument(
        "--folder",
        type=output_path,
        default=Path("nnunet-iac-demo"),
        help="where everything is written (default: %(default)s); run again to go on after an interruption",
    )
    parser.add_argument("--raw", type=Path, help="use this nnU-Net raw data set (Dataset<id>_<name>), not the phantom")
    parser.add_argument("--seed", type=int, default=0, help="of the phantom and the search (default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu", help="default: %(default)s")
    parser.add_argument("--keep", action="store_true", help="keep the preprocessed data, to go on by hand afterwards")
    parser.add_argument("--restart", action="store_true", help="repeat steps that an earlier run has finished")


def run(args: argparse.Namespace) -> int:
    """Run the demo; return 0, 1 if a step failed, or 130 if the user interrupted it.

    Raises:
        ValueError: if ``--raw`` or ``--seed`` does not fit.
        FileExistsError: if ``--folder`` holds something else than an earlier demo.
        FileNotFoundError: if ``--raw`` is no data set, or a program is not installed.
    """
    demo = make_demo(args.raw, args.seed, args.device)
    folder = args.folder.resolve()
    prepare_folder(folder, demo, restart=args.restart)
    begin = time.monotonic()
    _say("\n".join(introduction(demo, folder)))
    before = {} if demo.raw is None else {"predict": lambda: link_validation_images(demo, folder)}
    try:
        run_steps(build_steps(demo), folder, build_environment(folder), before=before, say=_say)
    except StepError as error:
        _say(f"\nnnunet-iac demo: {error}\nMend the cause and repeat the command: finished steps are skipped.")
        return 1
    except KeyboardInterrupt:
        _say("\nnnunet-iac demo: interrupted; repeat the command to go on, finished steps are skipped.")
        return 130
    _say("\n".join(summary(demo, folder, time.monotonic() - begin)))
    if not args.keep:
        shutil.rmtree(folder / demo.preprocessed_folder, ignore_errors=True)
    return 0


def make_demo(raw: Path | None, seed: int, device: str) -> Demo:
    """Check what was asked for.

    Raises:
        FileNotFoundError: if ``raw`` lacks a part of an nnU-Net raw data set.
        ValueError: if its name is not ``Dataset<three digits>_<name>``, or the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"--seed: expected 0 or more, got {seed}")
    if raw is None:
        return Demo(PHANTOM, None, seed, device)
    raw = raw.resolve()
    missing = [name for name in ("dataset.json", "imagesTr", "labelsTr") if not (raw / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"--raw: expected a folder with dataset.json, imagesTr and labelsTr (nnU-Net's raw format), {raw} lacks "
            f"{', '.join(missing)}"
        )
    if not re.fullmatch(r"Dataset\d{3}_\S+", raw.name):
        raise ValueError(
            f"--raw: expected a folder named Dataset<three digits>_<name> without blanks, got {raw.name!r}; rename it"
        )
    return Demo(raw.name, str(raw), seed, device)


def build_environment(folder: Path) -> dict[str, str]:
    """Return the variables that the commands need: nnU-Net's folders and trainers, and few processes."""
    from nnunet_iac.cli.trainers import trainers_folder

    return {
        "nnUNet_raw": str(folder / "nnUNet_raw"),
        "nnUNet_preprocessed": str(folder / "nnUNet_preprocessed"),
        "nnUNet_results": str(folder / "nnUNet_results"),
        "nnUNet_extTrainer": str(trainers_folder()),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        "nnUNet_compile": "f",
        # nnU-Net sets the threads of training itself; these keep its helpers from fighting over the cores.
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MPLBACKEND": "Agg",
        "PYTHONUNBUFFERED": "1",
    }


def prepare_folder(folder: Path, demo: Demo, *, restart: bool) -> None:
    """Make the demo's folder or take up an earlier one; a demo of something else starts anew.

    Raises:
        FileExistsError: if the folder holds anything but a demo (its files would be replaced).
    """
    record = folder / RECORD
    if folder.exists() and not record.is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"--folder: expected a new, an empty or an earlier demo's folder, got {folder}")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if restart or _read_json(record) != asdict(demo):
        shutil.rmtree(folder / MARKERS, ignore_errors=True)
        write_json(record, asdict(demo))
    if demo.raw is not None:
        _link(Path(demo.raw), folder / demo.raw_folder)


def link_validation_images(demo: Demo, folder: Path) -> list[str]:
    """Put a few validation cases of fold 0 into the folder of images to predict; return their names.

    Raises:
        FileNotFoundError: if nnU-Net's split or the images are missing.
    """
    ending = read_json(folder / demo.raw_folder / "dataset.json")["file_ending"]
    splits = read_json(folder / demo.preprocessed_folder / "splits_final.json")
    cases = sorted(splits[0]["val"])[:PREDICTED]
    shutil.rmtree(folder / demo.images, ignore_errors=True)
    (folder / demo.images).mkdir()
    for case in cases:
        files = sorted((folder / demo.raw_folder / "imagesTr").glob(f"{case}_[0-9][0-9][0-9][0-9]{ending}"))
        if not files:
            raise FileNotFoundError(f"--raw: expected imagesTr/{case}_0000{ending}, found no such file")
        for file in files:
            _link(file.resolve(), folder / demo.images / file.name)
    return cases


def introduction(demo: Demo, folder: Path) -> list[str]:
    """Return what the user reads first: where it happens and the environment to repeat it by hand."""
    folders = " ".join(f'{n}="$PWD/{n}"' for n in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"))
    phantom = "a phantom: synthetic hearts in short-axis view (minutes on two cores)"
    what = phantom if demo.raw is None else f"{demo.raw} (larger images take longer than the phantom)"
    return [
        f"Data: {what}",
        "The commands below are the real ones. To repeat them by hand:",
        f"  $ cd {folder}",
        f"  $ export {folders}",
        '  $ export nnUNet_extTrainer="$(nnunet-iac trainers)" nnUNet_n_proc_DA=1 nnUNet_def_n_proc=1',
    ]


def summary(demo: Demo, folder: Path, seconds: float) -> list[str]:
    """Return what came out, and what it does not mean."""
    host, cases = _validation_dice(folder / demo.model_folder(HOST))
    implanted, _ = _validation_dice(folder / demo.model_folder(IMPLANT))
    found = _read_json(folder / demo.model_folder(IMPLANT) / "fold_0" / "search_result.json") or {}
    return [
        "",
        f"Mean foreground Dice of the {cases} validation cases (fold 0):",
        f"  host       {host:.3f}",
        f"  implanted  {implanted:.3f}",
        f"Search: {found.get('message', 'no result was written')}",
        "",
        "A demo of minutes proves that the pipeline works, not that cells bring a gain: few cases, one seed, a host",
        "far from converged, and the implanted model was trained longer than its host. Compare equal budgets, several",
        "seeds and folds, with the controls nnUNetTrainerIACIdentity and nnUNetTrainerIACRandom.",
        "",
        f"Report:       {folder / 'report.html'}",
        f"Overlays:     {folder / 'overlays.png'}",
        f"Predictions:  {folder / 'predictions'}",
        f"This run took {seconds:.0f} s.",
    ]


def _validation_dice(model: Path) -> tuple[float, int]:
    path = model / "fold_0" / "validation" / "summary.json"
    record = read_json(path)
    return float(record["foreground_mean"]["Dice"]), len(record["metric_per_case"])


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except (FileNotFoundError, ValueError):
        return None


def _link(source: Path, target: Path) -> None:
    """Link a file or folder; copy it where links are not allowed (some systems and file systems)."""
    if target.is_symlink():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)


def _say(text: str) -> None:
    print(text, flush=True)
