"""From artefacts to the sections of a report."""

from __future__ import annotations

from functools import partial

import numpy as np

from nnunet_iac.reports import figures
from nnunet_iac.reports.artefacts import FoldArtefacts, ModelArtefacts
from nnunet_iac.reports.blocks import Block, Bullets, Folded, Notice, Paragraph, Picture, Report, Section, Table
from nnunet_iac.reports.captions import COURSE, DIVERGENCE, LAST_EPOCH, PROBABILITIES, PRUNING, SEARCH_DICE
from nnunet_iac.reports.names import level_name
from nnunet_iac.reports.provenance import provenance_section, settings_section
from nnunet_iac.reports.result import tau_of
from nnunet_iac.reports.scores import Scores, case_means, scores_data
from nnunet_iac.reports.trace import SearchTrace
from nnunet_iac.reports.words import (
    dice_sentence,
    fold_sentences,
    has_cells,
    is_undecided,
    model_sentences,
    state_of,
    warnings_of,
)

MOST_CASES = 300
"""Rows of the table of cases; with more cases, those that changed most are listed."""

TRAINING_WIDTH = 640
"""Width of nnU-Net's training curve on the page: it is much higher than wide."""


def build_report(artefacts: ModelArtefacts) -> Report:
    """Return the whole report; pictures are drawn later."""
    scores = scores_data(artefacts.folds, artefacts.classes)
    badge, tone = state_of(artefacts)
    sections = [
        _summary(artefacts, scores),
        *_genotype_sections(artefacts),
        *(_search_section(fold, fold.trace, artefacts) for fold in artefacts.folds if fold.trace is not None),
        _dice_section(artefacts, scores),
        *_training_sections(artefacts),
        settings_section(artefacts),
        provenance_section(artefacts),
    ]
    name = artefacts.name
    subject = (
        f"{name.dataset} · {name.configuration} · {name.trainer} · {name.plans}" if name else str(artefacts.folder)
    )
    folds = ", ".join(fold.number for fold in artefacts.folds)
    what = "Cells" if has_cells(artefacts) else "Training"
    return Report(
        title=f"{what} of {name.dataset if name else artefacts.folder.name}",
        subject=subject + (f" · fold {folds}" if folds else ""),
        badge=badge,
        tone=tone,
        sections=tuple(sections),
    )


def _summary(artefacts: ModelArtefacts, scores: Scores | None) -> Section:
    several = sum(fold.searched for fold in artefacts.folds) > 1
    sentences = list(model_sentences(artefacts))
    for fold in artefacts.folds:
        prefix = f"Fold {fold.number}. " if several else ""
        sentences += [prefix + sentence for sentence in fold_sentences(fold)]
    if scores is not None:
        sentences.append(dice_sentence(scores))
    warnings = warnings_of(artefacts)
    blocks: tuple[Block, ...] = (Bullets(tuple(sentences)),)
    return Section("summary", "In short", (*blocks, Notice(warnings)) if warnings else blocks)


def _genotype_sections(artefacts: ModelArtefacts) -> list[Section]:
    genotype = artefacts.genotype
    if genotype is None:
        return []
    count, first = max(1, len(genotype.cells)), genotype.first_level
    names = [level_name(group, count, first) for group in range(count)]
    pictures = [
        Picture(
            name=f"genotype_{level}" if count > 1 else "genotype",
            caption=(f"{name.capitalize()}. " if count > 1 else "")
            + "Solid arrows are operations; dashed ones only hand a signal on. The output is "
            "the skip plus a projection of all nodes together.",
            alternative=f"graph of the genotype, {name}",
            draw=partial(figures.genotype_png, genotype, level),
        )
        for level, name in enumerate(names, start=first)
    ]
    notice = (Notice(("The search ended undecided: this genotype was not found.",)),)
    return [Section("genotype", "Genotype", (*(notice if is_undecided(artefacts) else ()), *pictures))]


def _search_section(fold: FoldArtefacts, trace: SearchTrace, artefacts: ModelArtefacts) -> Section:
    result_genotype = fold.result.genotype if fold.result is not None else None
    genotype = result_genotype or artefacts.genotype
    second = _second_input(fold, artefacts)
    tau = fold.result.tau if fold.result is not None else tau_of(artefacts.settings)
    prefix = f"fold_{fold.number}_"
    course = COURSE + (SEARCH_DICE if np.isfinite(trace.dice).any() else "")
    blocks: list[Block] = [
        _picture(prefix + "course", course, partial(figures.course_png, trace)),
        _picture(prefix + "pruning", PRUNING, partial(figures.pruning_times_png, trace, second)),
        _picture(prefix + "last_epoch", LAST_EPOCH, partial(figures.final_state_png, trace, second, genotype)),
    ]
    levels = [_level_blocks(trace, group, prefix, second, tau) for group in range(trace.groups)]
    blocks += levels[0] if trace.groups == 1 else []
    if trace.groups > 1:
        names = [level_name(group, trace.groups, trace.first_level) for group in range(trace.groups)]
        blocks += [Folded(name, content) for name, content in zip(names, levels, strict=True)]
    return Section(f"search-{fold.number}", f"Search, fold {fold.number}", tuple(blocks))


def _level_blocks(trace: SearchTrace, group: int, prefix: str, second: str, tau: float | None) -> tuple[Block, ...]:
    suffix = f"_{trace.first_level + group}" if trace.groups > 1 else ""
    probabilities = partial(figures.probabilities_png, trace, group, second)
    divergence = partial(figures.divergence_png, trace, group, second, tau)
    threshold = "" if tau is not None else " The settings name no tau, so no threshold is drawn."
    return (
        _picture(f"{prefix}probabilities{suffix}", PROBABILITIES, probabilities),
        _picture(f"{prefix}divergence{suffix}", DIVERGENCE + threshold, divergence),
    )


def _picture(name: str, caption: str, draw: partial[bytes]) -> Picture:
    return Picture(name, caption, caption.split(". ")[0], draw)


def _second_input(fold: FoldArtefacts, artefacts: ModelArtefacts) -> str:
    genotype = (fold.result.genotype if fold.result is not None else None) or artefacts.genotype
    if genotype is not None and not genotype.is_identity:
        return genotype.second_input
    return str(artefacts.settings.get("cell.second_input", "decoder"))


def _dice_section(artefacts: ModelArtefacts, scores: Scores | None) -> Section:
    if scores is None:
        text = "No validation result yet: nnU-Net writes validation/summary.json into a fold folder after training."
        return Section("dice", "Dice against the host", (Paragraph(text),))
    blocks: list[Block] = [Paragraph(dice_sentence(scores))]
    if scores.host is None:
        blocks.append(Notice(_host_missing(artefacts), "plain"))
    if scores.left_out:
        text = f"Only one of both models was validated on {len(scores.left_out)} cases; they are left out: "
        blocks.append(Notice((text + ", ".join(scores.left_out[:10]) + ("…" if len(scores.left_out) > 10 else ""),)))
    if not scores.cases:
        return Section("dice", "Dice against the host", (*blocks, Paragraph("No case is in both results.")))
    caption = (
        "Means are over cases, as nnU-Net takes them; a class absent from reference and prediction does not count."
    )
    blocks.append(_picture("dice", caption, partial(figures.dice_png, scores)))
    hosts = sorted({str(f.host.validation.path) for f in artefacts.folds if f.host.validation is not None})
    blocks += [Paragraph("Host: " + "; ".join(hosts))] if hosts else []
    if any(not fold.host.is_kin for fold in artefacts.folds if fold.host.validation is not None):
        blocks.append(Notice(("The host was trained with plans of another name: make sure that it is this host.",)))
    return Section("dice", "Dice against the host", (*blocks, Folded("every case", (_case_table(scores),))))


def _host_missing(artefacts: ModelArtefacts) -> tuple[str, ...]:
    looked = [str(path) for fold in artefacts.folds for path in fold.host.looked_for]
    if not looked:
        return ("No host result was found: the folder's name does not say which plans and configuration it is of.",)
    return (
        "No host result was found, so there is nothing to compare with. Train the stock trainer on the same fold "
        "(nnUNetv2_train DATASET CONFIGURATION FOLD) and report again.",
        *(f"looked for {path}" for path in looked),
    )


def _case_table(scores: Scores) -> Table:
    ours = case_means(scores.ours)
    if scores.host is None:
        rows = [(case, f"{value:.4f}") for case, value in zip(scores.cases, ours, strict=True)]
        return Table(("case", "mean Dice"), tuple(rows[:MOST_CASES]))
    host = case_means(scores.host)
    order = np.argsort(ours - host, kind="stable")
    if len(order) > MOST_CASES:
        order = np.concatenate([order[: MOST_CASES // 2], order[-(MOST_CASES // 2) :]])
    rows3 = [(scores.cases[i], f"{host[i]:.4f}", f"{ours[i]:.4f}", f"{ours[i] - host[i]:+.4f}") for i in order]
    return Table(("case", "host", "with cells", "difference"), tuple(rows3))


def _training_sections(artefacts: ModelArtefacts) -> list[Section]:
    pictures = tuple(
        Picture(
            name=f"fold_{fold.number}_training",
            caption=f"Training of fold {fold.number}, as nnU-Net drew it (progress.png).",
            alternative=f"nnU-Net's training curve of fold {fold.number}",
            draw=partial(bytes, fold.progress),
            width=TRAINING_WIDTH,
        )
        for fold in artefacts.folds
        if fold.progress is not None
    )
    return [Section("training", "Training", pictures)] if pictures else []
