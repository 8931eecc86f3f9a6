"""A network of the zoo for a data set: is there a relative, which candidates are nearest, which of them is best.

What an earlier retrieval found is replaced only once something was found: the starts and short trainings of candidates
have files of their own; weights, plans and record come last, each whole, the record after all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from nnunet_iac.atomic import write_json
from nnunet_iac.metaspace.chosen_space import ChosenSpace, fitted_space, stored_space
from nnunet_iac.metaspace.order_choice import OrderChoice, choose_order
from nnunet_iac.metaspace.ranking import Ranked, rank, walk
from nnunet_iac.metaspace.relatives import alike_text, find_nearness, near_text
from nnunet_iac.metaspace.task import Task
from nnunet_iac.nnunet.files.model_folder import RECORD
from nnunet_iac.nnunet.files.plans import Plans, configuration_of, write_plans
from nnunet_iac.nnunet.files.weights import build_network, write_weights
from nnunet_iac.nnunet.retrieval.candidate_looks import CandidateLooks, Made
from nnunet_iac.nnunet.retrieval.candidate_training import CandidateTraining, Judgement, best_candidate
from nnunet_iac.nnunet.retrieval.retrieval_request import PROTOCOLS, Request
from nnunet_iac.nnunet.retrieval.retrieval_target import Target
from nnunet_iac.nnunet.retrieval.retrieval_trainings import TRAININGS, agree_on_trainings
from nnunet_iac.nnunet.retrieval.retrieved_start import RetrievedStart, retrieved_plans
from nnunet_iac.nnunet.retrieval.retrieved_trainer import SCHEMA, START
from nnunet_iac.similarity.outliers import Nearness
from nnunet_iac.zoo.costs import measure_costs
from nnunet_iac.zoo.store import Zoo

WEAK = 0.5
"""Dice on its own data set below which the weights of a candidate are said to know little (our choice)."""


def retrieve(
    zoo: Zoo,
    tasks: Sequence[Task],
    target: Target,
    request: Request,
    say: Callable[[str], None],
    *,
    replace: bool = False,
) -> dict[str, Any]:
    """Choose, write plans, weights and record, and return the record.

    Candidates are ordered in the way that served best among the sources, or as the request says: see
    :mod:`~nnunet_iac.metaspace.order_choice`. The meta-space never saw the target: it is fitted here, without whatever
    the zoo knows of the target's own data set, or the stored one that the request names. Supernets whose weights have
    seen the target are left out.

    Args:
        zoo: where the supernets lie.
        tasks: of the zoo, of the same number of axes and kind of encoder as the target's plan.
        target: see :class:`Target`.
        request: see :class:`Request`.
        say: receives every decision in words.
        replace: remove short trainings of other candidates that are in the way, and say so; default: an error.

    Raises:
        ValueError: if there are too few sources, or no candidate is within the limits, or trainings are of others, or
            the stored space does not fit.
        FloatingPointError: if the trainings of all candidates diverge.
    """
    sources = [task for task in tasks if target.sample.name not in task.lineage]
    stored = stored_space(zoo, request.space, sources, target.sample)
    near, names = find_nearness(sources, target.sample)
    say(_near_words(near, names, request))
    if alike := alike_text(near, names):
        say(f"WARNING: {alike}")
    if near.is_outlier and not request.anyway:
        _check_planned(target, request)
        why = _near_words(near, names, request)
        record = {**_base_record(target, request, near, names), "outlier": True, "why": why}
        return _write(target, record, target.network.plans, None)
    chosen = stored or fitted_space(request.space, sources)
    say(chosen.text)
    order = choose_order(
        request.wish,
        sources,
        target.sample,
        chosen.space.settings,
        count=PROTOCOLS[request.protocol],
        max_parameters=request.limits.max_parameters,
        listener=say,
    )
    say(order.text)
    ranked = rank(chosen.space, sources, target.sample, order.name)
    by = (order, chosen)
    return choose(zoo, ranked, (near, names), target, request, say, ordered_by=by, replace=replace)


def choose(
    zoo: Zoo,
    ranked: Sequence[Ranked],
    nearness: tuple[Nearness, Sequence[str]],
    target: Target,
    request: Request,
    say: Callable[[str], None],
    *,
    first: str = "",
    ordered_by: tuple[OrderChoice, ChosenSpace] | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Choose among candidates in a given order, write plans, weights and record, and return the record.

    This is what :func:`retrieve` does with the order that it finds. Other orders, one candidate alone too, come to the
    target the same way; nobody asks here whether the target is an outlier. Arguments and errors are those of
    :func:`retrieve`, and

    Args:
        ranked: candidates, none of the target's own data set, the best first.
        nearness: see :func:`~nnunet_iac.metaspace.relatives.find_nearness`; for the record.
        first: what the first of the order is, in words; by default, by which order.
        ordered_by: the order and its space, for the record; None if it was made another way.
        replace: see :func:`retrieve`.
    """
    near, names = nearness
    order, space = ordered_by or (None, None)
    count = PROTOCOLS[request.protocol]
    device = torch.device(request.device)
    looks = CandidateLooks(zoo, target, request.limits, seed=request.seed, device=device, say=say)
    found = walk(ranked, count, looks.look, most=request.most, outsized=looks.outsized)
    made = dict(enumerate(found.kept, start=1))
    judged = _judge({place: thing for place, (_, thing) in made.items()}, target, request, say, replace=replace)
    best, thing = made[judged.best]
    say(text := _choice_text(judged, best, first or f"the first by the order {order.name if order else 'given'}"))
    if best.own_dice < WEAK:
        say(_weak_text(best, count))
    record = {
        **_base_record(target, request, near, names),
        "outlier": False,
        "space": space.to_dict() if space else None,
        "order": order.to_dict() if order else None,
        "why": f"{_near_words(near, names, request) if request.anyway else near_text(near, names)} {text}",
        "candidates": [_candidate_record(place, *pair, judged) for place, pair in made.items()],
        "rejected": [{"candidate": one.name, "breaks": list(broken)} for one, broken in found.rejected],
        "chosen": judged.best,
        "undecided": judged.undecided,
        "lineage": list(best.task.lineage),
        "transfer": thing.start.report.summary(),
    }
    return _write(target, record, thing.start.target.plans, thing.start)


def _near_words(near: Nearness, names: Sequence[str], request: Request) -> str:
    """Return how near the target is, and what follows for one that is far."""
    if not near.is_outlier:
        return near_text(near, names)
    if request.anyway:
        return f"{near_text(near, names)} Retrieved all the same, as asked for (anyway)."
    return f"{near_text(near, names)} nnU-Net's own initialisation and plans are kept."


def _check_planned(target: Target, request: Request) -> None:
    """Check the network of the plans against the limits; it is what an outlier is trained with."""
    planned = configuration_of(target.plans, target.configuration)
    network, device = build_network(target.network), torch.device(request.device)
    costs = measure_costs(network, target.network.inputs, planned["patch_size"], device=device)
    if broken := request.limits.broken_by(costs):
        raise ValueError(
            f"limits: expected the network of the plans within them, because no source is near, got "
            f"{', '.join(broken)}; loosen them, or plan a smaller network"
        )


def _base_record(target: Target, request: Request, near: Nearness, names: Sequence[str]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "dataset": target.sample.name,
        "configuration": target.configuration,
        "plans": target.name,
        "fold": target.fold,
        "request": {**asdict(request), "limits": asdict(request.limits)},
        "sources": list(names),
        "nearest": names[near.source],
        "nearness": asdict(near),
        "alike": [names[place] for place in near.alike],
    }


def _judge(
    made: Mapping[int, Made], target: Target, request: Request, say: Callable[[str], None], *, replace: bool
) -> Judgement:
    """Train the candidates for an epoch each, unless there is one only."""
    wanted = PROTOCOLS[request.protocol]
    fewer = f"{request.protocol} asks for {wanted} candidates, {len(made)} could be had" * (len(made) < wanted)
    if len(made) == 1:
        untold = fewer and f"{fewer}: it is taken without asking the target"
        if untold:
            say(f"WARNING: {untold}")
        return Judgement(next(iter(made)), {}, {}, untold)
    if fewer:
        say(f"{fewer}.")
    say(
        f"{len(made)} candidates train for an epoch of {request.iterations} steps each on {len(target.training_cases)} "
        f"cases and are judged on {len(target.held_out_cases)} of other patients"
    )
    target.folder.mkdir(parents=True, exist_ok=True)
    agree_on_trainings(target.folder, _identity(target, request, made), say if replace else None)
    trainings = {place: _training(place, one.start, target, request) for place, one in made.items()}
    return best_candidate(trainings, torch.device(request.device), say)


def _identity(target: Target, request: Request, made: Mapping[int, Made]) -> dict[str, Any]:
    """Return what short trainings are of, as JSON has it."""
    wanted = {
        "schema": SCHEMA,
        "candidates": [one.candidate for one in made.values()],
        "iterations": request.iterations,
        "seed": request.seed,
        "fold": target.fold,
        "plans": target.plans["plans_name"],
        "planned": configuration_of(target.plans, target.configuration),
        "training_cases": list(target.training_cases),
        "held_out_cases": list(target.held_out_cases),
    }
    return dict(json.loads(json.dumps(wanted)))


def _training(place: int, start: RetrievedStart, target: Target, request: Request) -> CandidateTraining:
    path = target.folder / f"candidate_{place}.pth"
    write_weights(path, start.network, start.target, {"retrieval": {"place": place}})
    return CandidateTraining(
        name=f"candidate_{place}",
        target=start.target,
        start=path,
        fold=target.fold,
        training_cases=target.training_cases,
        held_out_cases=target.held_out_cases,
        iterations=request.iterations,
        seed=request.seed,
        results=target.folder / TRAININGS,
    )


def _candidate_record(place: int, one: Ranked, made: Made, judged: Judgement) -> dict[str, Any]:
    return {
        "place": place,
        "candidate": one.name,
        **made.candidate,
        "similarity": one.similarity,
        "remoteness": one.remoteness,
        "own_dice": one.own_dice,
        "predicted_dice": one.predicted,
        "costs": asdict(made.costs),
        "dice_after_an_epoch": judged.dice.get(place),
        "failed": judged.failed.get(place),
    }


def _choice_text(judged: Judgement, one: Ranked, first: str) -> str:
    if not judged.dice:
        return f"Chosen: {one.name}, {first}." + f" {judged.undecided}." * bool(judged.undecided)
    diverged = f" ({len(judged.failed)} diverged)" if judged.failed else ""
    count, dice = len(judged.dice) + len(judged.failed), judged.dice[judged.best]
    text = f"Chosen: {one.name}, place {judged.best} of {count}{diverged}, Dice {dice:.2f} after an epoch."
    return f"{text} Not by its Dice: {judged.undecided}." if judged.undecided else text


def _weak_text(one: Ranked, asked: int) -> str:
    """Return the warning; with one candidate alone asked for, nobody asked the target."""
    remedy = ""
    if asked == 1:
        remedy = "; to ask the target too, --protocol T5 (nnUNetTrainerIACAuto: retrieval.protocol=T5) trains five"
    return (
        f"WARNING: with these weights {one.name} reaches a Dice of {one.own_dice:.2f} on its own data set: they have "
        f"learned little there{remedy}"
    )


def _write(target: Target, record: dict[str, Any], plans: Plans, start: RetrievedStart | None) -> dict[str, Any]:
    target.folder.mkdir(parents=True, exist_ok=True)
    # Whoever is killed here leaves no record, so nobody takes the rest for a whole.
    (target.folder / RECORD).unlink(missing_ok=True)
    if start is None:
        plans = retrieved_plans(plans, target.configuration, target.name)
        (target.folder / START).unlink(missing_ok=True)
    else:
        write_weights(target.folder / START, start.network, start.target, {"retrieval": record})
    write_plans(target.plans_path, plans)
    write_json(target.folder / RECORD, record)
    return record
