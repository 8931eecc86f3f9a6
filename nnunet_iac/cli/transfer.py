"""``nnunet-iac transfer``: weights of one plan's network for another's, and what became of each tensor."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_iac.cli.arguments import add_trust_argument, output_path

HELP = "fit a checkpoint's weights to another plan: channels, stages, widths, 2D and 3D; for -pretrained_weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the source, the target and the file to write."""
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        type=Path,
        metavar="CHECKPOINT",
        help="checkpoint of nnU-Net, such as fold_0/checkpoint_final.pth",
    )
    parser.add_argument(
        "--source-plans", type=Path, metavar="FILE", help="its plans (default: those that the checkpoint carries)"
    )
    parser.add_argument(
        "--source-configuration", metavar="NAME", help="its configuration (default: the one that it carries)"
    )
    parser.add_argument("-d", dest="dataset", required=True, help="target: data set id or name")
    parser.add_argument("-c", dest="configuration", required=True, help="target: configuration")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="target: plans (default: %(default)s)")
    parser.add_argument(
        "-o",
        dest="output",
        required=True,
        type=output_path,
        metavar="FILE",
        help="checkpoint to write (.pth); the report goes beside it (.json)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    add_trust_argument(parser)
    parser.add_argument(
        "--seed", type=int, default=0, help="of what the source has no weights for (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Transfer, print the table of tensors and how to go on; everything is checked before anything is written.

    Raises:
        ValueError: if source or target cannot be read or do not fit.
        FileNotFoundError: if a file or the output's folder is missing.
        FileExistsError: if the output exists and ``--overwrite`` was not given.
    """
    from nnunet_iac.nnunet.files.weight_source import read_weight_source
    from nnunet_iac.nnunet.files.weights import read_weight_target, transfer_to_file

    _check_output(args.output, args.source, args.overwrite)
    target = read_weight_target(args.dataset, args.configuration, args.plans)
    source = read_weight_source(args.source, args.source_plans, args.source_configuration, trust=args.trust)
    report = transfer_to_file(source, target, args.output, args.seed)
    print(report.table())
    print(f"wrote {args.output} and {args.output.with_suffix('.json').name}")
    print(
        f"train with nnUNetv2_train {target.plans.get('dataset_name', args.dataset)} {args.configuration} FOLD "
        f"-p {args.plans} -pretrained_weights {args.output} (nnU-Net starts segmentation layers anew)"
    )
    return 0


def _check_output(output: Path, source: Path, overwrite: bool) -> None:
    if output.suffix != ".pth":
        raise ValueError(f"-o: expected a file name that ends in .pth, got {output.name!r}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"-o: expected an existing folder, {output.parent} is none; make it first")
    if output.resolve() == source.resolve():
        raise ValueError(f"-o: expected another file than --from, got {output} for both")
    taken = [path for path in (output, output.with_suffix(".json")) if path.exists()]
    if taken and not overwrite:
        raise FileExistsError(f"-o: expected a new name, {taken[0]} exists; choose another or give --overwrite")
