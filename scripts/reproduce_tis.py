"""How well the robustness loss picks a length of pretraining, on the measurements published with 2410.18677.

    python scripts/reproduce_tis.py --data ../shared/data/transferability --json tis.json

Reads downstream_scores.csv and robustness_scores.csv. A set-up is a model, a data set, a pretraining scheme and whether
the encoder was frozen. Values are means over set-ups of TIS = dice(chosen) / max_L dice(L), in per cent, where dice is
the mean over seeds and length 0 (no pretraining) counts in the maximum. Known faults of the files, and what is done:

- Length 0 was measured under scheme `simple` only; it has no scheme, so it counts for both.
- For ACDC every length-0 loss repeats the length-300 loss. No loss of length 0 ever takes part in a choice.
- The Dice stands in `mean dice index` or in `dice index`, whichever is filled; COVIDQUDataset is COVID-QU.
- Rows that are there twice count once; different values of one seed are averaged. Both are counted and printed.

offline: the smallest loss of all checkpoints, nothing saved. online: walk the checkpoints in order and stop after
PATIENCE of them without a new minimum; patience counts the published checkpoints (1, 5, 20, 50, ...), not epochs.

hybrid: the offline (or online) choice against no pretraining, settled by a probe. The files hold no short trainings.
One seed's Dice of both candidates, at full length, stands for the probe; the other seeds' mean Dice is what is judged;
this is done with each seed in turn and averaged. The probe's noise (standard deviation of one seed's difference) is
the median over the set-ups of other models or data sets, so nothing of the judged seeds enters. A lead of one standard
error settles it, otherwise the losses do where length 0 was scored rightly, otherwise the checkpoint is kept. A real
short probe sees less trained networks; what that costs cannot be measured here.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from nnunet_iac.atomic import write_json
from nnunet_iac.markdown import table_text
from nnunet_iac.robustness.distances import DISTANCES, Distance
from nnunet_iac.robustness.hybrid import decide, probe_outcome
from nnunet_iac.robustness.score import DEFAULT, ScoringConfiguration
from nnunet_iac.robustness.selection import OnlineState, StoppingRule, best_checkpoint, update
from nnunet_iac.robustness.yardsticks import Yardsticks, mean_yardsticks, yardsticks

ENCODERS = {"ResNet50 Attention U-Net": "resnet50", "Swin U-Net": "swin_transformer", "basic U-Net": "u-net_encoder"}
METRICS: dict[str, Distance] = {"cosine_distance": "cosine", "l2_loss": "l2", "inv_pearson_corr": "pearson"}
MARGINS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEVELS = (-1, -2, -3, -4)
PLACES = tuple(product((True, False), LEVELS))
"""Pooled or not, and level: the columns of the printed table."""
CONFIGURATIONS = tuple(
    ScoringConfiguration(distance, margin, pooled, level)
    for distance, margin, (pooled, level) in product(DISTANCES, MARGINS, PLACES)
)
UNPOOLED_DEEPEST = ScoringConfiguration(pooled=False, level=-1)

Choice = tuple[int, int]
"""Length that is chosen, epochs trained for it."""


@dataclass(frozen=True)
class SetUp:
    """Published measurements of one set-up.

    Attributes:
        group: model and data set; length 0 is the same measurement in all set-ups of a group and a freeze.
        dice: by length, then seed.
        losses: by configuration, then length from 1.
        initial: loss of length 0 by configuration; empty where the file repeats the last length's.
    """

    group: tuple[str, str]
    dice: Mapping[int, Mapping[str, float]]
    losses: Mapping[ScoringConfiguration, Mapping[int, float]]
    initial: Mapping[ScoringConfiguration, float]

    def mean_dice(self, without: str | None = None) -> dict[int, float]:
        """Return the mean over seeds by length."""
        return {
            length: statistics.fmean(value for seed, value in by_seed.items() if seed != without)
            for length, by_seed in self.dice.items()
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Read, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the two CSV files")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args(argv)
    setups = read_setups(args.data)
    names = sorted({setup.group[1] for setup in setups})
    found = {name: judge([s for s in setups if s.group[1] == name], setups) for name in names}
    together = judge(setups, setups)
    for name, result in (*found.items(), (" and ".join(names), together)):
        _print(name, result)
    if args.json:
        by_dataset = {name: _figures(result) for name, result in found.items()}
        write_json(args.json, {**_figures(together), "by_dataset": by_dataset})
    return 0


def judge(setups: Sequence[SetUp], known: Sequence[SetUp]) -> dict[str, Any]:
    """Return the mean yardsticks of every selection; ``known`` set-ups tell the probe's noise."""
    rows = {"no_pretraining": _mean(setups, lambda s: (0, 0)), "full_pretraining": _mean(setups, _full)}
    for patience in (1, 2, 3):
        rows[f"online_patience_{patience}"] = _mean(setups, _online(patience))
    rows["online_patience_1_smoothed"] = _mean(setups, _online(1, smoothing=0.5))
    for patience in (1, 2, 3):
        rows[f"online_patience_{patience}_unpooled_deepest"] = _mean(setups, _online(patience, UNPOOLED_DEEPEST))
    offline = {configuration: _mean(setups, _offline(configuration)) for configuration in CONFIGURATIONS}
    rows["offline_default"] = offline[DEFAULT]
    counts = {}
    if min(len(by_seed) for s in setups for by_seed in s.dice.values()) > 1:
        noise = {setup.group: _noise(known, setup.group) for setup in setups}
        methods = {"hybrid": _offline(DEFAULT)}
        methods.update({f"hybrid_online_patience_{patience}": _online(patience) for patience in (1, 2, 3)})
        for name, method in methods.items():
            rows[name], counts[name] = hybrid(setups, method, noise)
        rows["full_pretraining_of_judged_seeds"] = hybrid(setups, _full, noise, probed=False)[0]
        rows["offline_default_of_judged_seeds"] = hybrid(setups, _offline(DEFAULT), noise, probed=False)[0]
    initial = [s.losses[DEFAULT][best_checkpoint(s.losses[DEFAULT])] < s.initial[DEFAULT] for s in setups if s.initial]
    return {"setups": len(setups), "rows": rows, "offline": offline, "hybrid": counts, "beats_initialisation": initial}


def hybrid(
    setups: Sequence[SetUp], method: Callable[[SetUp], Choice], noise: Mapping[Any, float], *, probed: bool = True
) -> tuple[Yardsticks, Counter[str]]:
    """Return the yardsticks with each seed in turn as the probe, and how often which start was taken, rightly or not.

    Without a probe the method's own choice is judged on the same seeds.
    """
    parts, counts = [], Counter[str]()
    for setup in setups:
        length, trained = method(setup)
        beats = setup.losses[DEFAULT][length] < setup.initial[DEFAULT] if setup.initial else None
        for seed in sorted(setup.dice[0].keys() & setup.dice[length].keys()):
            judged = setup.mean_dice(without=seed)
            outcome = probe_outcome([setup.dice[0][seed]], [setup.dice[length][seed]], noise=noise[setup.group])
            start = decide(outcome, beats_initialisation=beats).start if probed else "pretrained"
            right = (judged[0] > judged[length]) == (start == "no pretraining")
            counts[f"{start}, {'rightly' if right else 'wrongly'}"] += 1
            parts.append(yardsticks(judged, chosen=length if start == "pretrained" else 0, trained=trained))
    return mean_yardsticks(parts), counts


def _mean(setups: Sequence[SetUp], method: Callable[[SetUp], Choice]) -> Yardsticks:
    choices = [(setup.mean_dice(), *method(setup)) for setup in setups]
    return mean_yardsticks([yardsticks(dice, chosen=length, trained=trained) for dice, length, trained in choices])


def _full(setup: SetUp) -> Choice:
    return max(setup.dice), max(setup.dice)


def _offline(configuration: ScoringConfiguration) -> Callable[[SetUp], Choice]:
    return lambda setup: (best_checkpoint(setup.losses[configuration]), max(setup.dice))


def _online(
    patience: int, configuration: ScoringConfiguration = DEFAULT, smoothing: float = 0.0
) -> Callable[[SetUp], Choice]:
    def choose(setup: SetUp) -> Choice:
        lengths = sorted(setup.losses[configuration])
        state = OnlineState(StoppingRule(patience, smoothing))
        for length in lengths:
            state, decision = update(state, setup.losses[configuration][length])
            if decision.stop:
                break
        return lengths[state.best_check - 1], lengths[state.checks - 1]

    return choose


def _noise(setups: Sequence[SetUp], group: tuple[str, str]) -> float:
    """Return the median standard deviation, over seeds, of the default choice's lead in other groups."""
    deviations = []
    for setup in setups:
        length = best_checkpoint(setup.losses[DEFAULT])
        seeds = setup.dice[0].keys() & setup.dice[length].keys()
        if setup.group != group and len(seeds) > 1:
            deviations.append(statistics.stdev(setup.dice[length][seed] - setup.dice[0][seed] for seed in seeds))
    if not deviations:
        print(f"hybrid, {' on '.join(group)}: no other set-ups tell the probe's noise, it is taken as 0")
    return statistics.median(deviations) if deviations else 0.0


def read_setups(folder: Path) -> list[SetUp]:
    """Return all set-ups of both files."""
    dice, losses = _read_dice(folder / "downstream_scores.csv"), _read_losses(folder / "robustness_scores.csv")
    faulty = {name for name in {key[0] for key in losses} if _repeats_last(losses, name)}
    print(f"loss of length 0 unusable (repeats the last length's): {', '.join(sorted(faulty)) or 'none'}")
    setups = []
    for (model, dataset, scheme, frozen), by_length in sorted(dice.items()):
        name = dataset.removesuffix("Dataset").replace("COVIDQU", "COVID-QU")
        curves = losses.get((name, ENCODERS.get(model, model), scheme), {})
        missing = [c for c in CONFIGURATIONS if not curves.get(c, {}).keys() & by_length.keys() - {0}]
        start = dice.get((model, dataset, "simple", frozen), {}).get(0)
        if missing or start is None:
            what = "Dice of length 0 under scheme simple" if start is None else f"losses of {missing[0]}"
            raise ValueError(f"--data: expected {what} for {model}, {name}, {scheme}; {folder} has none, complete it")
        complete = {**by_length, 0: start}
        usable = {c: {n: v for n, v in curves[c].items() if n > 0 and n in complete} for c in CONFIGURATIONS}
        initial = {} if name in faulty else {c: curves[c][0] for c in CONFIGURATIONS if 0 in curves[c]}
        setups.append(SetUp((model, name), complete, usable, initial))
    return setups


def _read_dice(path: Path) -> dict[tuple[str, ...], dict[int, dict[str, float]]]:
    values: dict[Any, list[float]] = defaultdict(list)
    for row in _rows(path):
        key = tuple(row[c] for c in ("model", "dataset", "pretraining scheme", "freeze encoder"))
        dice = float(row["mean dice index"] or row["dice index"])
        values[key, int(row["pretraining length"]), row["seed"]].append(dice)
    twice = [len(set(found)) == 1 for found in values.values() if len(found) > 1]
    print(
        f"{path.name}: {sum(twice)} seeds were there twice, {len(twice) - sum(twice)} with different values (averaged)"
    )
    table: dict[Any, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for (key, length, seed), found in values.items():
        table[key][length][seed] = statistics.fmean(set(found))
    return table


def _read_losses(path: Path) -> dict[tuple[str, ...], dict[ScoringConfiguration, dict[int, float]]]:
    rows = _rows(path)
    levels: dict[str, int] = defaultdict(int)
    for row in rows:
        levels[row["encoder"]] = max(levels[row["encoder"]], int(row["level"]))
    table: dict[Any, dict[ScoringConfiguration, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        configuration = ScoringConfiguration(
            METRICS[row["metric"]],
            float(row["margin"]),
            row["pooled"] == "True",
            int(row["level"]) - levels[row["encoder"]] - 1,
        )
        key = (row["dataset"], row["encoder"], row["pretraining_scheme"].removesuffix("_training"))
        table[key][configuration][int(row["pretraining_length"])] = float(row["robustness"])
    return table


def _repeats_last(losses: Mapping[tuple[str, ...], Mapping[Any, Mapping[int, float]]], dataset: str) -> bool:
    curves = [curve for key, found in losses.items() if key[0] == dataset for curve in found.values() if 0 in curve]
    return bool(curves) and all(curve[0] == curve[max(curve)] for curve in curves)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    rows: dict[str, Yardsticks] = result["rows"]
    offline = {_name(c): found.tis for c, found in result["offline"].items()}
    figures = {name: found.tis for name, found in rows.items()}
    rest = {"random": rows["full_pretraining"].chance, "offline": offline, "setups": result["setups"]}
    return {"hybrid": None, **figures, **rest, "yardsticks": {name: vars(found) for name, found in rows.items()}}


def _name(configuration: ScoringConfiguration) -> str:
    c = configuration
    return f"{c.distance}, margin {c.margin}, {'pooled' if c.pooled else 'unpooled'}, level {c.level}"


def _print(name: str, result: Mapping[str, Any]) -> None:
    rows: dict[str, Yardsticks] = result["rows"]
    full = rows["full_pretraining"]
    print(f"\n## {name}: {result['setups']} set-ups\n")
    head = ["selection", "TIS %", "range-normalised %", "regret (Dice points)", "epochs trained", "saved"]
    body = [["random checkpoint (chance)", f"{full.chance:.2f}", *[""] * 4]]
    for row, y in rows.items():
        values = (f"{value:.1f}" for value in (y.trained, y.saved))
        body.append([row.replace("_", " "), f"{y.tis:.2f}", f"{y.normalised_tis:.1f}", f"{y.regret:.2f}", *values])
    print(table_text(head, body))
    for row, counts in result["hybrid"].items():
        print(f"{row.replace('_', ' ')} took " + "; ".join(f"{what}: {n}" for what, n in sorted(counts.items())))
    beats = result["beats_initialisation"]
    if beats:
        print(f"the default choice's loss is below that of length 0 in {sum(beats)} of {len(beats)} set-ups")
    _print_offline({c: found.tis for c, found in result["offline"].items()}, full)


def _print_offline(tis: Mapping[ScoringConfiguration, float], full: Yardsticks) -> None:
    best = max(tis, key=tis.__getitem__)
    above = {what: sum(v > bound for v in tis.values()) for what, bound in (("98 %", 98), ("full", full.full))}
    print(f"\noffline, {len(tis)} configurations: best {tis[best]:.2f} ({_name(best)}; chosen in-sample), ", end="")
    print(f"default {tis[DEFAULT]:.2f}, median {statistics.median(tis.values()):.2f}; ", end="")
    print(f"above 98 %: {above['98 %']}, above chance: {sum(v > full.chance for v in tis.values())}, ", end="")
    print(f"above full pretraining: {above['full']}\n")
    body = []
    for distance, margin in product(DISTANCES, MARGINS):
        cells = [tis[ScoringConfiguration(distance, margin, *place)] for place in PLACES]
        body.append([f"{distance} {margin}", *(f"{value:.2f}" for value in cells)])
    print(table_text(["distance, margin", *(f"{'' if p else 'un'}pooled {level}" for p, level in PLACES)], body))


if __name__ == "__main__":
    sys.exit(main())
