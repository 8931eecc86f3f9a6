"""The starts of the arms of ``bench_retrieval_dice.py``: made, and read back with proof of what they were made from."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from retrieval_dice_study import Run, Study
from retrieval_dice_tables import NEAREST, RANDOM, SCRATCH, T1, T5, T10

from nnunet_iac.atomic import write_json
from nnunet_iac.dataset_names import dataset_number

if TYPE_CHECKING:
    from nnunet_iac.metaspace.ranking import Ranked
    from nnunet_iac.zoo.store import Zoo

PROTOCOLS, BROUGHT = (T10, T5, T1), (RANDOM, NEAREST)
"""Arms that ``nnunet-iac retrieve`` makes, the longest first, and those that are made here."""

SECONDS = "bench_seconds.json"
"""In the folder of a retrieval: how long the command took, all attempts together."""


def retrieve(study: Study, run: Run, results: Path, environment: Mapping[str, str]) -> bool:
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
    seconds = time.perf_counter() - started + _seconds(folder)
    word = "done" if status.returncode == 0 else f"FAILED (see {log.name})"
    print(f"{word} in {seconds:.0f} s: {target} {arm}, seed {seed}: retrieval", flush=True)
    write_json(folder / SECONDS, {"seconds": seconds})
    return status.returncode == 0


def bring(study: Study, target: str, seed: int, results: Path) -> None:
    """Bring the candidates of the arms without a command to a target, unless it is done."""
    arms = [arm for arm in study.arms if arm in BROUGHT and not _is_retrieved(study, (target, arm, seed), results)]
    if not arms:
        return
    from nnunet_iac.metaspace.fitting import fit
    from nnunet_iac.metaspace.ranking import rank
    from nnunet_iac.metaspace.relatives import find_nearness
    from nnunet_iac.metaspace.settings import FitSettings
    from nnunet_iac.metaspace.zoo_tasks import read_tasks
    from nnunet_iac.nnunet.cases.image_samples import prepared_data
    from nnunet_iac.nnunet.retrieval.retrieval import choose
    from nnunet_iac.nnunet.retrieval.retrieval_request import Request
    from nnunet_iac.nnunet.retrieval.retrieval_target import fitting_tasks, retrieval_target
    from nnunet_iac.zoo.store import Zoo

    zoo, first = Zoo(study.zoo_folder(target, results)), (target, arms[0], seed)
    data = prepared_data(target, study.configuration, study.plans_name((target, SCRATCH, seed)), fold=study.fold)
    folders: dict[str, Any] = {
        "plans_path": _plans_path(study, first),
        "folder": study.retrieval_folder(first, results),
    }
    looks: dict[str, Any] = {"patches": study.patches, "share": 0.3, "seed": seed, "device": study.device}
    wanted = retrieval_target(data, study.fold, name=study.plans_name(first), **folders, **looks)
    tasks = fitting_tasks(read_tasks(zoo), wanted, print)
    near, names = find_nearness(tasks, wanted.sample)
    # Nothing is chosen by this order; it says what the meta-space thinks of the choice.
    ranked = rank(fit(tasks, FitSettings()), tasks, wanted.sample)
    for arm in arms:
        run = (target, arm, seed)
        one, words = pick(arm, ranked, names[near.source], (seed, dataset_number(target)))
        place: dict[str, Any] = {"plans_path": _plans_path(study, run), "folder": study.retrieval_folder(run, results)}
        here = replace(wanted, name=study.plans_name(run), **place)
        request, say = Request(T1, seed=seed, device=study.device), partial(print, f"{target} {arm}:", flush=True)
        choose(zoo, [one], (near, names), here, request, say, first=words)


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


def retrieved(study: Study, run: Run, results: Path) -> dict[str, Any]:
    """Return what an arm starts from, after checking that its target was left out and its training is scratch's.

    Raises:
        SystemExit: if not.
    """
    from nnunet_iac.nnunet.files.model_folder import RECORD
    from nnunet_iac.nnunet.files.plans import configuration_of, read_plans
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
    return {**_choice(record), "seconds": _seconds(folder) if arm in PROTOCOLS else None}


def _datasets(zoo: Zoo, record: Mapping[str, Any]) -> set[str]:
    """Return the data sets that the supernets of all candidates have seen: hosts and what these started from too."""
    from nnunet_iac.nnunet.transfer.nearest_source import lineage_of

    entries = [zoo.entry(one["supernet"]) for one in record.get("candidates", ())]
    hosts = [entry.facts["host"]["dataset"] for entry in entries if entry.facts.get("host")]
    return {*(name for entry in entries for name in lineage_of(entry)), *hosts}


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


def _seconds(folder: Path) -> float:
    path = folder / SECONDS
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"]) if path.is_file() else 0.0


def _is_retrieved(study: Study, run: Run, results: Path) -> bool:
    """Return whether an arm's retrieval is done; plans of one that was killed before its record came are removed."""
    from nnunet_iac.nnunet.files.model_folder import RECORD

    if (study.retrieval_folder(run, results) / RECORD).is_file():
        return True
    _plans_path(study, run).unlink(missing_ok=True)
    return False


def _plans_path(study: Study, run: Run) -> Path:
    from nnunet_iac.nnunet.files.plans import plans_path, preprocessed_folder

    return plans_path(preprocessed_folder(run[0]), study.plans_name(run))
