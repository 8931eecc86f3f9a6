"""The tables of ``bench_retrieval_dice.py``: Dice of each arm on each left-out data set, and what was retrieved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from nnunet_iac.markdown import table_text

SCRATCH, T1, T5, T10, RANDOM, NEAREST = "scratch", "T1", "T5", "T10", "random", "nearest"
"""The arms, the control first."""

TITLES = {NEAREST: "nearest by OT"}
"""Names in tables, where they differ."""

SAME = 1e-9
"""Points of Dice below which two arms are equal: an outlier's start is scratch's."""

Record = Mapping[str, Any]
"""What is known of one target; see ``bench_retrieval_dice.py --json``."""


def regrets(dice: Mapping[str, float]) -> dict[str, float]:
    """Return by how many points each arm is below the best one.

    Example:
        >>> regrets({"scratch": 70.0, "T1": 72.5})
        {'scratch': 2.5, 'T1': 0.0}
    """
    best = max(dice.values())
    return {arm: best - value for arm, value in dice.items()}


def signs(records: Sequence[Record], arm: str) -> tuple[int, int, int]:
    """Return on how many targets an arm's mean Dice is above, equal to and below scratch's.

    Example:
        >>> signs([{"dice": {"scratch": 70.0, "T1": 71.0}}, {"dice": {"scratch": 70.0, "T1": 70.0}}], "T1")
        (1, 1, 0)
    """
    gains = [record["dice"][arm] - record["dice"][SCRATCH] for record in records]
    above, below = sum(gain > SAME for gain in gains), sum(gain < -SAME for gain in gains)
    return above, len(gains) - above - below, below


def markdown(records: Sequence[Record], arms: Sequence[str]) -> str:
    """Return all tables; arms in their order, scratch first."""
    parts = [dice_table(records, arms), difference_table(records, arms), retrieval_table(records, arms)]
    return "\n\n".join(parts)


def dice_table(records: Sequence[Record], arms: Sequence[str]) -> str:
    """Return Dice in points, a row for each target; then mean, mean regret and signs."""
    rows = []
    for record in records:
        patients = f"{record['patients']}{'' if record['grouping'] else ' (cases)'}"
        cells = [f"{record['dice'][arm]:.2f}{_outlier_text(record, arm)}" for arm in arms]
        rows.append([record["target"], patients, *cells])
    rows.append(["mean", "", *(f"{mean(r['dice'][arm] for r in records):.2f}" for arm in arms)])
    lost = [regrets({arm: record["dice"][arm] for arm in arms}) for record in records]
    rows.append(["mean regret", "", *(f"{mean(one[arm] for one in lost):.2f}" for arm in arms)])
    counts = ["" if arm == SCRATCH else "{}/{}/{}".format(*signs(records, arm)) for arm in arms]
    rows.append(["targets above/equal/below scratch", "", *counts])
    about = "Dice (points), mean over the fold's validation patients and seeds."
    return f"{about}\n\n{table_text(_head(arms), rows)}"


def difference_table(records: Sequence[Record], arms: Sequence[str]) -> str:
    """Return differences to scratch with intervals over patients and, with several seeds, over both."""
    others = [arm for arm in arms if arm != SCRATCH]
    title = "Minus scratch (points), paired by patient, 95 % CI over patients (BCa)"
    several = any(found and found["of_runs"] for r in records for found in r["against_scratch"].values())
    rows = []
    for record in records:
        cells = [_difference_text(record["against_scratch"][arm]) for arm in others]
        rows.append([record["target"], str(record["patients"]), *cells])
    about = f"{title}{'; in braces over patients and seeds' if several else ''}."
    return f"{about}\n\n{table_text(_head(others), rows)}"


def retrieval_table(records: Sequence[Record], arms: Sequence[str]) -> str:
    """Return what each arm started from and what choosing it cost, a row for each target, seed and arm."""
    columns = (
        *("target", "sources", "nearest (distance; p of outlier)", "seed", "arm", "source", "candidate"),
        *("encoder depths", "widths", "decoder depths", "million parameters", "predicted Dice"),
        *("Dice after an epoch", "steps to choose", "seconds to choose"),
    )
    rows = []
    for record in records:
        for arm in arms:
            for seed, found in record["retrieved"].get(arm, {}).items():
                near = f"{found['nearest']} ({found['distance']:.3g}; {found['p_value']:.2g})"
                seconds = "" if found["seconds"] is None else f"{found['seconds']:.0f}"
                first = (record["target"], str(len(found["sources"])), near, seed, TITLES.get(arm, arm))
                rows.append([*first, *_choice_cells(found), str(found["steps"]), seconds])
    about = "What was retrieved; every row's zoo had no entry of its target."
    return f"{about}\n\n{table_text(columns, rows)}"


def _choice_cells(found: Record) -> list[str]:
    if found["outlier"]:
        return ["outlier: default", *[""] * 7]
    dice, after = found["predicted_dice"], found["dice_after_an_epoch"]
    failed = f" ({found['failed']} diverged)" if found["failed"] else ""
    return [
        found["source"],
        f"{found['candidate']}{failed}",
        _numbers(found["depths"]),
        _numbers(found["widths"]),
        _numbers(found["decoder_depths"]),
        f"{found['parameters'] / 1e6:.2f}",
        f"{100 * dice:.1f}",
        "" if after is None else f"{after:.2f}",
    ]


def _outlier_text(record: Record, arm: str) -> str:
    of_seeds = [found["outlier"] for found in record["retrieved"].get(arm, {}).values()]
    if not any(of_seeds):
        return ""
    return " (outlier: default)" if all(of_seeds) else f" (outlier: default, {sum(of_seeds)} of {len(of_seeds)} seeds)"


def _difference_text(found: Record | None) -> str:
    if found is None:
        return "one patient"
    text = f"{found['difference']:+.2f} {_interval_text(found['interval'], '[]')}"
    return f"{text} {_interval_text(found['of_runs'], '{}')}" if found["of_runs"] else text


def _interval_text(interval: Record, braces: str) -> str:
    return f"{braces[0]}{interval['low']:+.2f}, {interval['high']:+.2f}{braces[1]}"


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _head(arms: Sequence[str]) -> list[str]:
    return ["target", "patients", *(TITLES.get(arm, arm) for arm in arms)]
