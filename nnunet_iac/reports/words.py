"""The report in plain words: what was searched, how it ended, what was pruned, and what the reader must know."""

from __future__ import annotations

from collections import Counter

import numpy as np

from nnunet_iac.cells.genotype import OPERATIONS, Genotype
from nnunet_iac.reports.artefacts import FoldArtefacts, ModelArtefacts
from nnunet_iac.reports.blocks import Tone
from nnunet_iac.reports.names import OPERATION_LABELS, TIMES, counted, duration
from nnunet_iac.reports.result import SearchResult
from nnunet_iac.reports.scores import Scores, case_means
from nnunet_iac.reports.trace import SearchTrace

BASELINES = "nnunet_iac.baselines."
"""Plans that name a network below this have other skip connections, which nobody searches for."""


HOSTS_ALONE = ("nnUNetTrainer", "nnUNetTrainerIACHost", "nnUNetTrainerPretrainedEncoder", "nnUNetTrainerMedNNS")
"""Trainers that train a stock host and nothing else."""


def state_of(artefacts: ModelArtefacts) -> tuple[str, Tone]:
    """Return the state of a model in a few words, with the tone of its badge."""
    if network := _baseline(artefacts):
        name = artefacts.name.trainer if artefacts.name is not None else network
        return f"baseline: {name}, nothing is searched", "plain"
    searched = [fold for fold in artefacts.folds if fold.searched]
    if any(fold.result is None for fold in searched):
        return "search not finished", "busy"
    if is_undecided(artefacts):
        return "undecided", "warn"
    if searched:
        return "decided", "good"
    genotype = artefacts.genotype
    if genotype is None:
        return (
            ("host alone, nothing is searched", "plain") if is_host_alone(artefacts) else ("before the search", "busy")
        )
    return ("genotype from plans" if genotype.kind == "searched" else f"{genotype.kind} control"), "plain"


def is_host_alone(artefacts: ModelArtefacts) -> bool:
    """Return whether the model is a stock host without cells, and will stay so."""
    trainer = artefacts.name.trainer if artefacts.name is not None else ""
    return artefacts.genotype is None and trainer in HOSTS_ALONE


def has_cells(artefacts: ModelArtefacts) -> bool:
    """Return whether the model has cells, or will."""
    return not is_host_alone(artefacts) and _baseline(artefacts) is None


def is_undecided(artefacts: ModelArtefacts) -> bool:
    """Return whether the genotype comes from a search that ended undecided, here or where the plans were made."""
    genotype = artefacts.genotype
    here = any(fold.result is not None and fold.result.status == "undecided" for fold in artefacts.folds)
    return here or (genotype is not None and genotype.origin.get("status") == "undecided")


def model_sentences(artefacts: ModelArtefacts) -> tuple[str, ...]:
    """Say what the network carries, whatever was searched here."""
    if network := _baseline(artefacts):
        return (f"Baseline: nothing is searched; the skip connections are those of {network}.",)
    genotype = artefacts.genotype
    if is_host_alone(artefacts):
        return ("Host alone: the network is the stock nnU-Net, without cells; nothing is searched.",)
    if genotype is None:
        return ("There is no genotype yet: the cells are still open.",)
    if genotype.kind == "identity":
        return ("Identity control: the network carries no cells. Nothing was searched; it is the stock nnU-Net.",)
    cells = (
        "one cell, shared by all levels" if len(genotype.cells) == 1 else f"{len(genotype.cells)} cells, one a level"
    )
    if genotype.first_level:
        cells += f" from level {genotype.first_level} on (skips above it are the host's)"
    second = "the decoder's up-sampled signal" if genotype.second_input == "decoder" else "the encoder skip once more"
    size = f"{counted(genotype.nodes, 'node')}; second input: {second}"
    if genotype.projection != "zero":
        size += f"; projection with a gain{' after a normalisation' * (genotype.projection == 'normalised')}"
    if genotype.kind == "random":
        seed = genotype.origin.get("seed", "unknown")
        return (f"Random control: {cells}, drawn without a search (seed {seed}); {size}.", _operations(genotype))
    sentences = [f"The network carries {cells} ({size}).", _operations(genotype)]
    if not any(fold.searched for fold in artefacts.folds):
        sentences.append("The genotype was already in the plans and was trained as it is: no search ran here.")
    return tuple(sentences)


def fold_sentences(fold: FoldArtefacts) -> tuple[str, ...]:
    """Say where the host of one fold came from and how its search went."""
    host = [f"Host: {fold.host_origin.message.rstrip('.')}."] if fold.host_origin is not None else []
    if not fold.searched:
        return tuple(host)
    sentences = [*host, _outcome(fold)]
    if fold.trace is not None:
        sentences += [_scope(fold.trace), _pruning(fold.trace)]
    if fold.result is not None:
        sentences.append(_data(fold.result))
    return tuple(sentences)


def dice_sentence(scores: Scores) -> str:
    """Say how the Dice of the host changed, without claiming more than the cases carry."""
    ours = case_means(scores.ours)
    if scores.host is None:
        return f"Mean foreground Dice {_mean(ours):.3f} over {counted(len(scores.cases), 'case')}."
    host = case_means(scores.host)
    better, worse = int((ours > host).sum()), int((ours < host).sum())
    return (
        f"Mean Dice of a case {_mean(ours):.3f} with cells, {_mean(host):.3f} for the host "
        f"({_mean(ours) - _mean(host):+.3f}) over {counted(len(scores.cases), 'case')}: better in {better}, worse in "
        f"{worse}. This is a description, not a test: judge it by patient, over several seeds and folds."
    )


def warnings_of(artefacts: ModelArtefacts) -> tuple[str, ...]:
    """Say everything that limits what the report shows."""
    found = [f"fold {fold.number}: {text}" for fold in artefacts.folds for text in _fold_warnings(fold)]
    trained = artefacts.plans.genotype
    for fold in artefacts.folds:
        other = fold.result.genotype if fold.result is not None else None
        if trained is not None and other is not None and other != trained:
            found.append(f"fold {fold.number}: its search ended with another genotype than plans.json holds.")
    reusing = [fold.number for fold in artefacts.folds if not fold.searched]
    if reusing and any(fold.searched for fold in artefacts.folds):
        found.append(
            f"Folds without a search of their own ({', '.join(reusing)}) reuse the genotype found in another fold; "
            "their validation cases may have been seen by that search, so their Dice is not nested in it."
        )
    return tuple(found)


def _baseline(artefacts: ModelArtefacts) -> str | None:
    """Return the name of a baseline's network, None for a model that is no baseline."""
    network = artefacts.plans.network_class or ""
    return network.rpartition(".")[2] if network.startswith(BASELINES) else None


def _fold_warnings(fold: FoldArtefacts) -> list[str]:
    found = []
    if fold.trace is not None and fold.trace.damaged_lines:
        lines = counted(fold.trace.damaged_lines, "line")
        found.append(f"{lines} of search.jsonl could not be read (written only in part) and left out.")
    if fold.trace is not None and fold.trace.superseded_lines:
        lines = counted(fold.trace.superseded_lines, "line")
        found.append(f"{lines} of search.jsonl replaced by a later run of the same epochs (resumed).")
    if fold.trace is not None and (missing := _missing_epochs(fold.trace)):
        found.append(f"search.jsonl has no line for {counted(missing, 'epoch')} in between.")
    if fold.result is not None and fold.result.status == "undecided":
        found.append(
            f"the search ended UNDECIDED ({fold.result.decided_edges} of {fold.result.edges} edges decided). "
            f"Do not read its genotype as found: it is {_left_over(fold.result)}."
        )
    if fold.result is not None and fold.trace is None:
        found.append("search_result.json is there but search.jsonl is not: the course of the search is unknown.")
    return found


def _left_over(result: SearchResult) -> str:
    """Say how the genotype of an undecided search was chosen."""
    select = "weights" if result.genotype is None else result.genotype.origin.get("select", "weights")
    return {
        "draw": "drawn by lot among choices that were not told apart",
        "removal": "what held-out losses liked best among choices that were not told apart",
    }.get(str(select), "the strongest of choices that were not told apart")


def _missing_epochs(trace: SearchTrace) -> int:
    return int(trace.epochs[-1] - trace.epochs[0] + 1 - len(trace.epochs))


def _operations(genotype: Genotype) -> str:
    counts = Counter(operation for cell in genotype.cells for node in cell for operation, _ in node)
    parts = [f"{counts[name]} {TIMES} {OPERATION_LABELS[name]}" for name in OPERATIONS if counts[name]]
    return f"Its operations: {', '.join(parts)}."


def _outcome(fold: FoldArtefacts) -> str:
    result = fold.result
    if result is not None:
        verdict = "decided" if result.status == "decided" else "ended undecided"
        return (
            f"The search {verdict}: {result.decided_edges} of {result.edges} edges decided after "
            f"{counted(result.epochs, 'epoch')} in {duration(result.seconds)} (seed {result.seed}). "
            f"In its own words: {result.message.rstrip('.')}."
        )
    if fold.trace is None:
        return "The search has begun but has not finished an epoch yet."
    last = int(fold.trace.epochs[-1])
    decided = int(fold.trace.decided[-1].sum())
    return (
        f"The search is still running, or was stopped (nnUNetv2_train … --c goes on with it): the last line is of "
        f"epoch {last}, with {decided} of {fold.trace.decided[-1].size} edges decided; "
        f"{duration(float(fold.trace.seconds.sum()))} so far."
    )


def _data(result: SearchResult) -> str:
    mode = {"frozen": "kept frozen", "joint": "trained jointly with the cells"}.get(result.host_mode, result.host_mode)
    source = f" (weights from {result.host_checkpoint})" if result.host_checkpoint else ""
    text = f"During the search the host was {mode}{source}."
    if result.weight_cases is None or result.architecture_cases is None:
        return text
    split = f"by patient, {result.patients}" if result.patients else "by case, because patients are unknown"
    return (
        f"{text} {counted(result.weight_cases, 'training case')} trained weights and "
        f"{counted(result.architecture_cases, 'other')} the architecture (split {split})."
    )


def _scope(trace: SearchTrace) -> str:
    edges = trace.groups * len(trace.edges)
    cells = "one cell for all levels" if trace.groups == 1 else f"{trace.groups} cells, one a level"
    start = trace.search_start
    warm = "all in warm-up" if start is None else f"{int((trace.epochs < start).sum())} of them warm-up"
    return (
        f"Searched: {cells}, {edges} edges with {len(OPERATIONS)} candidate operations each; "
        f"{counted(len(trace.epochs), 'epoch')} recorded, {warm}, "
        f"{duration(float(trace.seconds.mean()))} an epoch on average."
    )


def _pruning(trace: SearchTrace) -> str:
    total = int(trace.mask[-1].size)
    gone = total - int(trace.mask[-1].sum())
    if not gone:
        return f"Nothing was pruned: all {total} operations were executed to the end."
    epochs = [event.epoch for event in trace.pruned]
    when = f", the first at epoch {min(epochs)}, the last at epoch {max(epochs)}" if epochs else ""
    return f"Pruned: {gone} of {total} operations{when}; {total - gone} are active in the last recorded epoch."


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
