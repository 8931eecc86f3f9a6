"""The predictions of several arms, measured: the way from folders of masks to values of patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nnunet_iac.nnunet.cases.masks import Unit, measure_all
from nnunet_iac.nnunet.cases.predictions import Arm
from nnunet_iac.nnunet.cases.references import Cohort, Sources, find_cohort, find_sources, reference_masks
from nnunet_iac.statistics.patients import PatientScores, Run, patient_scores


@dataclass(frozen=True, eq=False)
class MeasuredArms:
    """Every run of every arm, each on the same cases.

    Attributes:
        runs: by arm.
        cohort: the patients.
        folds: number of each patient's fold, where all runs are of one cross-validation; else None.
        sources: what was measured with.
        unit: of HD95.
    """

    runs: Mapping[str, Sequence[Run]]
    cohort: Cohort
    sources: Sources
    unit: Unit
    folds: Mapping[str, int] | None

    def scores(self, names: Mapping[str, str]) -> PatientScores:
        """Return the values of some arms, the control first.

        Args:
            names: the name to show by arm.
        """
        runs = {name: self.runs[arm] for arm, name in names.items()}
        return patient_scores(runs, self.cohort.patients, list(self.sources.labels.classes), self.folds)


def measure_arms(
    arms: Sequence[Arm], *, references: Path | None = None, common: bool = False, processes: int = 1
) -> MeasuredArms:
    """Find references and patients, then measure; everything is checked before the first mask is read.

    Args:
        arms: of one data set.
        references: see :func:`~nnunet_iac.nnunet.cases.references.find_sources`.
        common: see :func:`~nnunet_iac.nnunet.cases.references.find_cohort`.
        processes: that measure.

    Raises:
        ValueError: if arms, classes, patients or masks do not fit.
        FileNotFoundError: if folders, references or ``dataset.json`` are missing.
    """
    sources = find_sources(arms, references)
    masks = {(arm.name, index): run.masks(sources.labels.ending) for arm in arms for index, run in enumerate(arm.runs)}
    by_name = {f"{name}, run {index + 1}" if index else name: files for (name, index), files in masks.items()}
    cohort = find_cohort(by_name, sources.datasets, common=common)
    found = reference_masks(cohort, sources)
    keys = [(run, case) for run in masks for case in found]
    pairs = [(masks[run][case], found[case]) for run, case in keys]
    progress = tqdm(measure_all(pairs, sources.labels, processes), "measuring", len(pairs), leave=False, disable=None)
    measured = dict(zip(keys, progress, strict=True))
    units = {one.unit for one in measured.values()}
    if len(units) > 1:
        raise ValueError(
            "masks: expected a spacing for all or for none, got both; is a .json file beside a TIFF missing?"
        )
    runs = {
        arm.name: [
            {case: measured[(arm.name, index), case].agreements for case in found} for index in range(len(arm.runs))
        ]
        for arm in arms
    }
    return MeasuredArms(runs, cohort, sources, units.pop(), common_folds(list(masks.values()), cohort.patients))


def common_folds(masks: Sequence[Mapping[str, Path]], patients: Mapping[str, Sequence[str]]) -> dict[str, int] | None:
    """Return the number of each patient's fold: patients whose masks lie in one folder, in every run.

    Args:
        masks: files by case, for each run.
        patients: cases by patient.

    Returns:
        None if one model predicted all, the runs part the patients differently, or a patient's cases are in several
        folds (splits by case): then no fold is independent of another.

    Example:
        >>> fold = {case: Path(f"fold_{number}") / case for number, case in enumerate(["a", "b", "c"])}
        >>> common_folds([fold], {"A": ["a"], "B": ["b"], "C": ["c"]})
        {'A': 0, 'B': 1, 'C': 2}
        >>> common_folds([fold], {"A": ["a", "b"], "C": ["c"]})
    """
    found: list[tuple[int, ...]] = []
    for files in masks:
        folders = [{files[case].parent for case in cases} for cases in patients.values()]
        if any(len(of_patient) > 1 for of_patient in folders):
            return None
        # Numbered in the order of the patients, so that runs in other folders can be compared.
        numbers: dict[Path, int] = {}
        found.append(tuple(numbers.setdefault(next(iter(one)), len(numbers)) for one in folders))
    if len(set(found)) > 1 or max(found[0]) == 0:
        return None
    return dict(zip(patients, found[0], strict=True))
