"""``nnunet-iac configure``: write a derived plans file with settings; preprocessed data are shared, not repeated."""

from __future__ import annotations

import argparse
import json

HELP = "write a derived plans file with settings (search length, cells, training length)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare data set, configuration, plans, output and settings."""
    parser.add_argument("-d", dest="dataset", required=True, help="data set id or name")
    parser.add_argument("-c", dest="configuration", required=True, help="configuration, such as 2d or 3d_fullres")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans to derive from (default: %(default)s)")
    parser.add_argument("-o", dest="output", required=True, help="name of the new plans")
    parser.add_argument("--overwrite", action="store_true", help="replace the new plans if they exist")
    parser.add_argument("--batch-size", type=int, help="replace the planned batch size")
    parser.add_argument("--patch-size", type=int, nargs="+", metavar="N", help="replace the planned patch size")
    parser.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="settings; --list shows all",
    )
    parser.add_argument("--list", action=_ListSettings, nargs=0, help="list the settings with their defaults and exit")


class _ListSettings(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from dataclasses import fields

        from nnunet_iac.nnunet.files.settings import SECTIONS

        for name, section in SECTIONS.items():
            for f in fields(section):
                default = f.default if isinstance(f.default, str) else json.dumps(f.default)
                print(f"{name}.{f.name}={default}".ljust(42) + f"{f.metadata['meaning']}")
                print(" " * 44 + f.metadata["check"][1])
        parser.exit()


def run(args: argparse.Namespace) -> int:
    """Check the settings, derive the plans and write them.

    Raises:
        ValueError: for bad settings (all named together), names or plans.
        FileNotFoundError: if the plans to derive from are missing.
        FileExistsError: if the new plans exist and ``--overwrite`` was not given.
    """
    from nnunet_iac.nnunet.files.plans import (
        derive,
        new_plans_path,
        plans_path,
        preprocessed_folder,
        read_plans,
        settings_of,
        write_plans,
    )
    from nnunet_iac.nnunet.files.setting_assignments import parse_assignments

    if args.batch_size is not None and args.batch_size < 2:
        raise ValueError(f"--batch-size: expected at least 2, got {args.batch_size}")
    block = parse_assignments(args.settings)
    folder = preprocessed_folder(args.dataset)
    source = read_plans(plans_path(folder, args.plans))
    target = new_plans_path(folder, args.output)
    if args.output == args.plans:
        raise ValueError(f"-o: expected another name than the plans to derive from, got {args.output!r}")
    if target.exists() and not args.overwrite:
        raise FileExistsError(f"-o: expected a new name, {target} exists; choose another or give --overwrite")
    derived = derive(source, args.configuration, args.output, block, args.batch_size, args.patch_size)
    # Everything is checked before anything is written.
    settings_of(derived, args.configuration)
    write_plans(target, derived)
    print(f"wrote {target}\ntrain it with -p {args.output}")
    return 0
