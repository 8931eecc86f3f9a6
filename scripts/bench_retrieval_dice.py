"""Leave one data set out: is what the rest of a zoo offers a better start? Dice after equal fine-tuning.

    python scripts/bench_retrieval_dice.py -d 4 501 508 511 -c 2d --zoo ZOO --patch-size 96x96 4=56x40 508=128x128
        511=256x128 --batch-size 4 --jobs 3 --tag loo --json loo.json

Needs nnU-Net's three folders, planned and preprocessed data sets, and a zoo of three data sets or more (``nnunet-iac
zoo build``, with the patch sizes that are given here: distances between data sets depend on them). Each target gets a
zoo of its own, a copy without any entry of the target (and of those named with it in ``--together``), so that nothing
could see one. Then, for each seed:

- ``scratch``: nnU-Net's plan and initialisation (``nnUNetTrainerIACHost``);
- ``T1``, ``T5``, ``T10``: ``nnunet-iac retrieve --protocol``, then ``nnUNetTrainerMedNNS``. T5 and T10 train 5 and 10
  candidates for ``--retrieve-iterations`` steps first, on training cases only; steps and seconds of that are in the
  last table, not in the fine-tuning. A target that ``retrieve`` takes for an outlier starts from scratch by its own
  rule: the training would be scratch's bit by bit, so its masks are taken, and the table says ``outlier: default``;
- ``random``: a candidate drawn from all of the zoo's with equal chance;
- ``nearest``: of the data set that is nearest by optimal transport, the candidate with the best Dice there. Both are
  brought over by the same code as a retrieved one and trained alike; nobody asks whether the target is an outlier.

Fine-tuning has the same steps, batch size, patch size, cases and seed in all arms of a target (checked). Networks
differ: a retrieved one has the depths and widths that were retrieved. Arms that are finished are not repeated, an
interrupted one goes on; a zoo that grew needs another ``--tag``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bench_environment import bench_environment
from retrieval_dice_tables import NEAREST, RANDOM, SCRATCH, T1, T5, T10, markdown, regrets

from nnunet_iac.atomic import write_json
from nnunet_iac.nnunet.training_processes import Training, run_trainings

if TYPE_CHECKING:
    from nnunet_iac.metaspace.ranking import Ranked
    from nnunet_iac.zoo.store import Zoo

PROTOCOLS, BROUGHT = (T10, T5, T1), (RANDOM, NEAREST)
"""Arms that ``nnunet-iac retrieve`` makes, the longest first, and those that are made here."""

SECONDS = "bench_seconds.json"
"""In the folder of a retrieval: how long it took."""

Run = tuple[str, str, int]
"""Target, arm and seed."""


@dataclass(frozen=True)
class Study:
    """What is run.

    Attributes:
        targets: full names, ``Dataset508_DSB18nuclei``.
        together: full names of data sets that are left out together.
        arms: the control first.
        seeds: of batches, of weights that no source has, of candidates' trainings and of the random choice.
        configuration: nnU-Net's.
        fold: nnU-Net's.
        plans: that all plans are derived from.
        zoo: of all data sets.
        budget: settings of all arms, later ones win.
        batch_size: replaces the planned one.
        patch_sizes: by target; replace the planned ones.
        retrieve_iterations: steps of a candidate's epoch.
        patches: of the target that are looked at.
        device: nnU-Net's.
        tag: part of the names of plans and zoos, one for each budget.
    """

    targets: Sequence[str]
    together: Sequence[str]
    arms: Sequence[str]
    seeds: Sequence[int]
    configuration: str
    fold: int
    plans: str
    zoo: str
    budget: Sequence[str]
    batch_size: int | None
    patch_sizes: Mapping[str, Sequence[int]]
    retrieve_iterations: int
    patches: int
    device: str
    tag: str

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [(target, arm, seed) for target in self.targets for arm in self.arms for seed in self.seeds]

    def left_out(self, target: str) -> set[str]:
        """Return the data sets that a target's zoo is without."""
        return {target, *(self.together if target in self.together else ())}

    def plans_name(self, run: Run) -> str:
        """Return the name of an arm's plans."""
        _, arm, seed = run
        return f"{self.plans}_{self.tag}_seed{seed}{'' if arm == SCRATCH else f'_{arm}'}"

    def zoo_folder(self, target: str, results: Path) -> Path:
        """Return where a target's zoo lies."""
        return results / target / f"zoo_without__{self.tag}"

    def retrieval_folder(self, run: Run, results: Path) -> Path:
        """Return where ``nnunet-iac retrieve`` keeps what it found for an arm."""
        from nnunet_iac.nnunet.retrieved_trainer import retrieval_folder

        return retrieval_folder(results, run[0], self.plans_name(run), self.configuration)

    def training(self, run: Run, results: Path) -> Training:
        """Return an arm's fine-tuning."""
        target, arm, seed = run
        plans, trainer = self.plans_name(run), "nnUNetTrainerIACHost" if arm == SCRATCH else "nnUNetTrainerMedNNS"
        folder = results / target / f"{trainer}__{plans}__{self.configuration}" / f"fold_{self.fold}"
        what = ("nnUNetv2_train", str(number(target)), self.configuration, str(self.fold))
        command = [*what, "-tr", trainer, "-p", plans, "--c", "-device", self.device]
        return Training(f"{target} {arm}, seed {seed}", command, folder)


def number(dataset: str) -> int:
    """Return nnU-Net's number of a data set.

    Example:
        >>> number("Dataset004_Hippocampus")
        4
    """
    return int(dataset[7:10])


def patch_sizes(words: Sequence[str], targets: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the patch size of each target that has one: ``64 64`` or ``64x64`` for all, ``ID=64x64`` for one.

    Raises:
        ValueError: if a word is none of these, or names no target.

    Example:
        >>> patch_sizes(["96x96", "4=56x40"], ["Dataset004_A", "Dataset501_B"])
        {'Dataset004_A': (56, 40), 'Dataset501_B': (96, 96)}
    """
    own = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    common = "x".join(word for word in words if "=" not in word)
    by_number = {str(number(target)): target for target in targets}
    if strange := sorted(set(own) - set(by_number)):
        raise ValueError(f"--patch-size: expected numbers of targets before =, got {strange}; targets: {[*by_number]}")
    sizes = {target: own.get(key, common) for key, target in by_number.items()}
    try:
        return {target: tuple(int(axis) for axis in size.split("x")) for target, size in sizes.items() if size}
    except ValueError as error:
        raise ValueError(f"--patch-size: expected such as 96x96 or 4=56x40, got {' '.join(words)}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done, print the tables; the status is 1 if an arm failed."""
    import torch

    from nnunet_iac.nnunet.hosts import results_folder

    args = _parse(argv)
    torch.set_num_threads(args.threads)
    study, results, environment = _study(args), results_folder(), bench_environment(args.threads)
    for target in study.targets:
        _leave_out(study, target, results)
        for seed in study.seeds:
            _write_plans(study, target, seed)
    commanded = [(t, arm, s) for arm in PROTOCOLS for t in study.targets for s in study.seeds if arm in study.arms]
    with ThreadPoolExecutor(args.jobs) as pool:
        fine = list(pool.map(lambda run: _retrieve(study, run, results, environment), commanded))
    if not all(fine):
        return 1
    for target in study.targets:
        for seed in study.seeds:
            _bring(study, target, seed, results)
    records = {run: _retrieved(study, run, results) for run in study.runs if run[1] != SCRATCH}
    trainings = {run: study.training(_trained(run, records), results) for run in study.runs}
    todo = list({one.folder: one for one in trainings.values() if not one.is_done}.values())
    if run_trainings(todo, gpus=[None] * args.jobs, environment=environment):
        return 1
    found = [_measure(study, target, trainings, records, args.margin) for target in study.targets]
    print("\n" + markdown(found, study.arms))
    if args.json:
        about = {"study": asdict(study), "threads": args.threads, "jobs": args.jobs}
        write_json(Path(args.json), {**about, "targets": found})
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", dest="datasets", nargs="+", help="targets (default: all data sets of the zoo)")
    parser.add_argument("-c", dest="configuration", default="2d")
    parser.add_argument("-f", dest="fold", type=int, default=0)
    parser.add_argument("-p", dest="plans", default="nnUNetPlans")
    parser.add_argument("--zoo", required=True, metavar="DIR", help="folder or URL")
    parser.add_argument("--together", nargs="+", default=[], metavar="ID", help="data sets that share patients, say")
    arms = (T1, T5, T10, RANDOM, NEAREST)
    parser.add_argument("--arms", nargs="+", choices=arms, default=list(arms), help="besides scratch (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=15, help="of the fine-tuning (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=20, help="steps of each of them (default: %(default)s)")
    parser.add_argument("--retrieve-iterations", type=int, default=20, help="of a candidate (default: %(default)s)")
    parser.add_argument("--patches", type=int, default=128, help="of a target to look at (default: %(default)s)")
    parser.add_argument("--budget", nargs="+", default=[], metavar="KEY=VALUE", help="such as training.augment=false")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--patch-size", nargs="+", default=[], metavar="SIZE", help="96x96 for all, 4=56x40 for one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=3, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--tag", default="loo", help="part of the plans' names; one for each zoo and budget")
    parser.add_argument("--margin", type=float, default=0.5, help="Dice points that would not matter")
    parser.add_argument("--json", help="write the figures to this file")
    return parser.parse_args(argv)


def _study(args: argparse.Namespace) -> Study:
    from nnunet_iac.nnunet.plans import preprocessed_folder
    from nnunet_iac.zoo.candidates_entries import SUBNETWORKS
    from nnunet_iac.zoo.entries import Query
    from nnunet_iac.zoo.store import Zoo

    built = [e.dataset for e in Zoo(args.zoo).entries(Query(SUBNETWORKS)) if e.configuration == args.configuration]
    targets = [preprocessed_folder(name).name for name in args.datasets or dict.fromkeys(built)]
    steps = (f"host.epochs={args.epochs}", f"host.iterations={args.iterations}", "training.validation_iterations=1")
    return Study(
        targets=targets,
        together=[preprocessed_folder(name).name for name in args.together],
        arms=[SCRATCH, *args.arms],
        seeds=args.seeds,
        configuration=args.configuration,
        fold=args.fold,
        plans=args.plans,
        zoo=args.zoo if "://" in args.zoo else str(Path(args.zoo).resolve()),
        budget=[*steps, *args.budget],
        batch_size=args.batch_size,
        patch_sizes=patch_sizes(args.patch_size, targets),
        retrieve_iterations=args.retrieve_iterations,
        patches=args.patches,
        device=args.device,
        tag=args.tag,
    )


def _leave_out(study: Study, target: str, results: Path) -> None:
    """Copy the zoo without what it has of a target, unless that is there, and say what is in it."""
    from nnunet_iac.zoo.candidates_entries import FEATURES, SUBNETWORKS, SUPERNET
    from nnunet_iac.zoo.exchange import copy_entries
    from nnunet_iac.zoo.store import Zoo

    whole, folder = Zoo(study.zoo), study.zoo_folder(target, results)
    kinds, without = (SUPERNET, SUBNETWORKS, FEATURES), study.left_out(target)
    fitting = [e for e in whole.entries() if e.kind in kinds and e.configuration == study.configuration]
    wanted = [entry.id for entry in fitting if entry.dataset not in without]
    own = Zoo.create(folder)
    there = {entry.id for entry in own.entries()}
    if not there <= set(wanted):
        raise SystemExit(f"--tag: expected one of its own for another zoo, {folder} holds other entries; give another")
    copy_entries(whole, own, [entry for entry in wanted if entry not in there] or wanted[:1])
    sources = sorted({entry.dataset for entry in own.entries()})
    if without & set(sources) or not sources:
        raise SystemExit(f"--zoo: expected data sets other than {sorted(without)} in {folder}, got {sources}")
    dropped = sorted({entry.dataset for entry in fitting} & without)
    print(
        f"{target}: sources {', '.join(sources)}; left out of {folder.name}: {', '.join(dropped) or 'none'}", flush=True
    )


def _write_plans(study: Study, target: str, seed: int) -> None:
    """Derive the plans of scratch, which those of all other arms derive from, again on each call."""
    from nnunet_iac.cli.main import main as nnunet_iac

    words = ["configure", "-d", target, "-c", study.configuration, "-p", study.plans]
    words += ["-o", study.plans_name((target, SCRATCH, seed)), "--overwrite"]
    words += ["--batch-size", str(study.batch_size)] if study.batch_size is not None else []
    words += ["--patch-size", *map(str, study.patch_sizes[target])] if target in study.patch_sizes else []
    if status := nnunet_iac([*words, "--set", *study.budget, f"search.seed={seed}"]):
        raise SystemExit(status)


def _retrieve(study: Study, run: Run, results: Path, environment: Mapping[str, str]) -> bool:
    """Run ``nnunet-iac retrieve`` for an arm unless it is done; return whether it is done now."""
    target, arm, seed = run
    folder = study.retrieval_folder(run, results)
    if _is_retrieved(study, run, results):
        return True
    words = ["-d", target, "-c", study.configuration, "-p", study.plans_name((target, SCRATCH, seed))]
    words += ["-f", str(study.fold), "-o", study.plans_name(run), "--zoo", str(study.zoo_folder(target, results))]
    words += ["--protocol", arm, "--iterations", str(study.retrieve_iterations), "--patches", str(study.patches)]
    words += ["--seed", str(seed), "--device", study.device]
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with (folder / "retrieve.log").open("a", encoding="utf-8") as log:
        command = ["nnunet-iac", "retrieve", *words]
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=dict(environment), check=False)
    seconds = time.perf_counter() - started
    word = "done" if status.returncode == 0 else f"FAILED (see {log.name})"
    print(f"{word} in {seconds:.0f} s: {target} {arm}, seed {seed}: retrieval", flush=True)
    write_json(folder / SECONDS, {"seconds": seconds})
    return status.returncode == 0


def _is_retrieved(study: Study, run: Run, results: Path) -> bool:
    """Return whether an arm's retrieval is done; plans of one that was killed before its record came are removed."""
    from nnunet_iac.nnunet.model_folder import RECORD

    if (study.retrieval_folder(run, results) / RECORD).is_file():
        return True
    _plans_path(study, run).unlink(missing_ok=True)
    return False


def _plans_path(study: Study, run: Run) -> Path:
    from nnunet_iac.nnunet.plans import plans_path, preprocessed_folder

    return plans_path(preprocessed_folder(run[0]), study.plans_name(run))


def _bring(study: Study, target: str, seed: int, results: Path) -> None:
    """Bring the candidates of the arms without a command to a target, unless it is done."""
    arms = [arm for arm in study.arms if arm in BROUGHT and not _is_retrieved(study, (target, arm, seed), results)]
    if not arms:
        return
    from nnunet_iac.metaspace.fitting import fit
    from nnunet_iac.metaspace.ranking import rank
    from nnunet_iac.metaspace.relatives import find_nearness
    from nnunet_iac.metaspace.settings import FitSettings
    from nnunet_iac.metaspace.zoo_tasks import read_tasks
    from nnunet_iac.nnunet.image_samples import prepared_data
    from nnunet_iac.nnunet.retrieval import Request, choose
    from nnunet_iac.nnunet.retrieval_target import fitting_tasks, retrieval_target
    from nnunet_iac.zoo.store import Zoo

    zoo, started = Zoo(study.zoo_folder(target, results)), time.perf_counter()
    data = prepared_data(target, study.configuration, study.plans_name((target, SCRATCH, seed)), fold=study.fold)
    folders = {"plans_path": _plans_path(study, (target, arms[0], seed)), "folder": results}
    looks = {"patches": study.patches, "share": 0.3, "seed": seed, "device": study.device}
    wanted = retrieval_target(data, study.fold, name="", **folders, **looks)
    tasks = fitting_tasks(read_tasks(zoo), wanted, print)
    near, names = find_nearness(tasks, wanted.sample)
    # Nothing is chosen by this order; it says what the meta-space thinks of the choice.
    ranked = rank(fit(tasks, FitSettings()), tasks, wanted.sample)
    for arm in arms:
        run = (target, arm, seed)
        one, words = pick(arm, ranked, names[near.source], (seed, number(target)))
        place = {"plans_path": _plans_path(study, run), "folder": study.retrieval_folder(run, results)}
        here, request = (
            replace(wanted, name=study.plans_name(run), **place),
            Request(T1, seed=seed, device=study.device),
        )
        here.folder.mkdir(parents=True, exist_ok=True)
        write_json(here.folder / SECONDS, {"seconds": (time.perf_counter() - started) / len(arms)})
        choose(
            zoo,
            [one],
            (near, names),
            here,
            request,
            lambda text, arm=arm: print(f"{target} {arm}: {text}"),
            first=words,
        )


def pick(arm: str, ranked: Sequence[Ranked], nearest: str, seed: Sequence[int]) -> tuple[Ranked, str]:
    """Return the candidate of an arm, and what it is in words.

    Args:
        arm: ``random`` draws with equal chance, ``nearest`` takes the best of the nearest data set, by its Dice there.
        ranked: all candidates; their order does not matter.
        nearest: name of the nearest data set.
        seed: of the draw.
    """
    known = sorted(ranked, key=lambda one: (one.task.name, one.index))
    if arm == RANDOM:
        return known[int(np.random.default_rng(seed).integers(len(known)))], f"drawn from {len(known)} candidates"
    of_nearest = [one for one in known if one.task.dataset == nearest]
    best = max(of_nearest, key=lambda one: float(one.task.candidates.dice[one.index]))
    return best, f"the best by its Dice on {nearest}, the nearest data set"


def _retrieved(study: Study, run: Run, results: Path) -> dict[str, Any]:
    """Return what an arm starts from, after checking that its target was left out and its training is scratch's.

    Raises:
        SystemExit: if not.
    """
    from nnunet_iac.nnunet.model_folder import RECORD
    from nnunet_iac.nnunet.plans import configuration_of, read_plans
    from nnunet_iac.zoo.store import Zoo

    target, arm, seed = run
    folder = study.retrieval_folder(run, results)
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    used = {*record["sources"], *_datasets(Zoo(study.zoo_folder(target, results)), record)}
    if wrong := used & study.left_out(target):
        raise SystemExit(
            f"{run}: expected a retrieval without {sorted(wrong)}; they are among its sources {sorted(used)}"
        )
    plans = [read_plans(_plans_path(study, (target, name, seed))) for name in (SCRATCH, arm)]
    own, its = (configuration_of(one, study.configuration) for one in plans)
    different = [key for key in {*own, *its} - {"architecture"} if own.get(key) != its.get(key)]
    if different or (record["outlier"] and own != its):
        raise SystemExit(f"--tag: expected the budget of {folder}, got another one ({sorted(different)}); give another")
    seconds = json.loads((folder / SECONDS).read_text(encoding="utf-8"))["seconds"]
    return {**_choice(record), "seconds": seconds}


def _datasets(zoo: Zoo, record: Mapping[str, Any]) -> set[str]:
    """Return the data sets that the supernets of all candidates were trained on, hosts included."""
    entries = [zoo.entry(one["supernet"]) for one in record.get("candidates", ())]
    hosts = [entry.facts["host"]["dataset"] for entry in entries if entry.facts.get("host")]
    return {*(entry.dataset for entry in entries), *hosts}


def _choice(record: Mapping[str, Any]) -> dict[str, Any]:
    near, candidates = record["nearness"], record.get("candidates", [])
    judged = [one for one in candidates if one["dice_after_an_epoch"] is not None or one["failed"]]
    words: dict[str, Any] = {
        "outlier": record["outlier"],
        "sources": record["sources"],
        "nearest": record["nearest"],
        "distance": near["distance"],
        "p_value": near["p_value"],
        "steps": len(judged) * record["request"]["iterations"],
        "failed": sum(one["failed"] is not None for one in candidates),
        "why": record["why"],
    }
    if record["outlier"]:
        return words
    one = next(one for one in candidates if one["place"] == record["chosen"])
    shape = {name: one["configuration"][name] for name in ("depths", "decoder_depths", "widths")}
    more = ("candidate", "similarity", "predicted_dice", "dice_after_an_epoch")
    rest = {"source": record["lineage"][0], "parameters": one["costs"]["parameters"], "place": one["place"]}
    return {**words, **shape, **{name: one[name] for name in more}, **rest}


def _trained(run: Run, records: Mapping[Run, Mapping[str, Any]]) -> Run:
    """Return the run whose training is an arm's: scratch's for an outlier, else its own."""
    target, arm, seed = run
    return (target, SCRATCH, seed) if arm != SCRATCH and records[run]["outlier"] else run


def _measure(
    study: Study,
    target: str,
    trainings: Mapping[Run, Training],
    records: Mapping[Run, Mapping[str, Any]],
    margin: float,
) -> dict[str, Any]:
    """Measure all arms of a target and put together what is known of it."""
    from nnunet_iac.nnunet.measured_arms import measure_arms
    from nnunet_iac.nnunet.predictions import Arm, Predictions
    from nnunet_iac.reports.comparison import build_comparison

    folders = {arm: [trainings[target, arm, seed].folder for seed in study.seeds] for arm in study.arms}
    measured = measure_arms([Arm(arm, tuple(map(Predictions.at, of_arm))) for arm, of_arm in folders.items()])
    scores = measured.scores({arm: arm for arm in study.arms})
    comparison = build_comparison(scores, margins={"dice": margin, "hd95": 1.0}, unit=measured.unit)
    rows = {row.arm: row for row in comparison.main_rows("dice")}
    dice = {arm: float(row.values.mean()) for arm, row in rows.items()}
    against = {
        arm: row.result and {**asdict(row.result), "of_runs": row.of_runs and asdict(row.of_runs)}
        for arm, row in rows.items()
        if arm != SCRATCH
    }
    return {
        "target": target,
        "left_out": sorted(study.left_out(target)),
        "patients": len(rows[SCRATCH].values),
        "grouping": measured.cohort.source and measured.cohort.source.split(" in ")[0],
        "dice": dice,
        "regret": regrets(dice),
        "dice_by_seed": dict(zip(scores.arms, scores.run_means["dice"], strict=True)),
        "dice_of_patients": {arm: row.values.tolist() for arm, row in rows.items()},
        "against_scratch": against,
        "retrieved": {
            arm: {str(seed): dict(records[target, arm, seed]) for seed in study.seeds}
            for arm in study.arms
            if arm != SCRATCH
        },
    }


if __name__ == "__main__":
    sys.exit(main())
