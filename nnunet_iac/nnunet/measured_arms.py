"""The predictions of several arms, measured: the way from folders of masks to values of patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nnunet_iac.nnunet.masks import Unit, measure_all
from nnunet_iac.nnunet.predictions import Arm
from nnunet_iac.nnunet.references import Cohort, Sources, find_cohort, find_sources, reference_masks
from nnunet_iac.statistics.patients import PatientScores, Run, patient_scores


@dataclass(frozen=True, eq=False)
class MeasuredArms:
    """Every run of every arm, each on the same cases.

    Attributes:
        runs: by arm.
        cohort: the patients.
        sources: what was measured with.
        unit: of HD95.
    """

    runs: Mapping[str, Sequence[Run]]
    cohort: Cohort
    sources: Sources
    unit: Unit

    def scores(self, names: Mapping[str, str]) -> PatientScores:
        """Return the values of some arms, the control first.

        Args:
            names: the name to show by arm.
        """
        runs = {name: self.runs[arm] for arm, name in names.items()}
        return patient_scores(runs, self.cohort.patients, list(self.sources.labels.classes))


def measure_arms(
    arms: Sequence[Arm], *, references: Path | None = None, common: bool = False, processes: int = 1
) -> MeasuredArms:
    """Find references and patients, then measure; everything is checked before the first mask is read.

    Args:
        arms: of one data set.
        references: see :func:`~nnunet_iac.nnunet.references.find_sources`.
        common: see :func:`~nnunet_iac.nnunet.references.find_cohort`.
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
    return MeasuredArms(runs, cohort, sources, units.pop())
