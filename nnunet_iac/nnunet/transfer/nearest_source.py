"""Which search of a zoo to start from: a named one, the one whose data set is nearest to the target's, or the newest
of those on several data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nnunet_iac.nnunet.cases import dataset_features
from nnunet_iac.nnunet.cases.dataset_features import features_of
from nnunet_iac.nnunet.transfer.serving_source import (
    MULTI,
    TransferTarget,
    datasets_of,
    lineage_of,
    problem_of,
    why_not_multi,
    why_not_nearest,
)
from nnunet_iac.nnunet.zoo_entries import search_import
from nnunet_iac.similarity.distance import distance
from nnunet_iac.similarity.labelled_features import LabelledFeatures, alternate_halves
from nnunet_iac.similarity.outliers import ALIKE
from nnunet_iac.zoo.candidates_entries import sees_alike
from nnunet_iac.zoo.entries import Query
from nnunet_iac.zoo.entry import Entry
from nnunet_iac.zoo.store import Zoo

NEAREST = "nearest"
"""``transfer.source`` that leaves the choice to the distance."""

SCHEMA = 1
"""Version of the JSON form of a choice."""

REMEDY = "add the fold in which a search ran with nnunet-iac zoo add --searches FOLDER"

MULTI_REMEDY = "search on two or more other data sets with nnunet-iac zoo build --multi -d ID ID -c CONFIGURATION"


class NoSourceError(ValueError):
    """A zoo has no search that could be compared with the target."""


@dataclass(frozen=True)
class SourceChoice:
    """The chosen source and why.

    Attributes:
        zoo: where it was found.
        source: id of its entry.
        name: of the entry.
        dataset: that it was searched on.
        wanted: ``transfer.source`` at that time.
        why: in words.
        distances: from the target to the data set of each source that could be compared, nearest first.
        skipped: why each other source could not be taken, by ``id (name)``.
        warnings: what a reader should know.
        lineage: data sets that its weights have seen: its own, and those that it started from.
    """

    zoo: str
    source: str
    name: str
    dataset: str
    wanted: str
    why: str
    distances: Sequence[Mapping[str, Any]] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    lineage: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return the choice in plain words, one line for the log each."""
        found = [f"Transfer: start from {self.name} (entry {self.source} of {self.zoo}): {self.why}."]
        found += [f"Transfer: distance {d['distance']:.4f} to {d['dataset']} ({d['name']})" for d in self.distances]
        found += [f"Transfer: left out {what}: {why}" for what, why in self.skipped.items()]
        return found + [f"WARNING: transfer: {text}" for text in self.warnings]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SourceChoice:
        """Read the JSON form.

        Raises:
            ValueError: if it is of another schema.
            TypeError: if keys are missing or unknown.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"transfer: expected a JSON object, got {type(record).__name__}")
        if record.get("schema") != SCHEMA:
            raise ValueError(f"transfer: expected a choice of schema {SCHEMA}, got {record.get('schema')!r}")
        return cls(**{key: value for key, value in record.items() if key != "schema"})


def choose_source(zoo: Zoo, wanted: str, target: TransferTarget) -> SourceChoice:
    """Choose the search to start from.

    A search on the target's own data set is taken only if it is named: it may have seen the validation cases of the
    fold that it would be used in.

    Args:
        zoo: with entries of the kinds ``search supernet`` and ``dataset features``.
        wanted: (start of) an entry's id, ``nearest``, or ``multi``.
        target: what it is for.

    Raises:
        FileNotFoundError: if there is no zoo.
        ValueError: if the named entry does not fit, or there is none to choose from; the message names the remedy.
    """
    ways = {NEAREST: _nearest, MULTI: _newest_multi}
    return ways[wanted](zoo, target) if wanted in ways else _named(zoo, wanted, target)


def _named(zoo: Zoo, wanted: str, target: TransferTarget) -> SourceChoice:
    entry = zoo.entry(wanted)
    problem = problem_of(entry, target.nodes)
    if problem:
        raise ValueError(
            f"transfer.source: expected a search with cells like the target's, but of entry {entry.id} ({entry.name}) "
            f'{problem}; choose another (nnunet-iac zoo list --kind "{search_import.KIND}"), or change cell.nodes'
        )
    same = [f"it was searched on the target's own data set, {target.dataset}: it may have seen validation cases"]
    return SourceChoice(
        zoo=zoo.place.name,
        source=entry.id,
        name=entry.name,
        dataset=entry.dataset,
        wanted=wanted,
        why=f"transfer.source={wanted} names it",
        warnings=tuple(same) if target.dataset in lineage_of(entry) else (),
        lineage=lineage_of(entry),
    )


def _nearest(zoo: Zoo, target: TransferTarget) -> SourceChoice:
    entries = zoo.entries(Query(kind=search_import.KIND))
    if not entries:
        raise NoSourceError(f"transfer.zoo: expected a {search_import.KIND} in {zoo.place.name}, found none; {REMEDY}")
    features = _features(zoo, target)
    known = {entry.dataset for entry in features}
    candidates, skipped = _sorted_out(entries, lambda entry: why_not_nearest(entry, target, known))
    if not candidates:
        left = "; ".join(f"{what}: {why}" for what, why in skipped.items())
        raise NoSourceError(
            f"transfer.source: expected a search in {zoo.place.name} whose data set can be compared with "
            f"{target.dataset}, found none ({left}); {REMEDY} and the features of its data set with nnunet-iac zoo "
            "build, or name an entry with transfer.source=ID"
        )
    own = target.features()
    described = _described(features, candidates, target)
    found = {name: distance(features_of(entry, zoo.read_weights(entry)), own) for name, entry in described.items()}
    ranked = sorted(candidates, key=lambda e: (found[e.dataset].value, *_preference(e, target)))
    best = ranked[0]
    rivals = sum(entry.dataset == best.dataset for entry in ranked) - 1
    why = f"its data set, {best.dataset}, is the nearest to {target.dataset} of {len(found)} that could be compared"
    return SourceChoice(
        zoo=zoo.place.name,
        source=best.id,
        name=best.name,
        dataset=best.dataset,
        wanted=NEAREST,
        why=f"{why}; of its {rivals + 1} searches, the first that is decided and like the target" if rivals else why,
        distances=tuple(
            {"id": e.id, "name": e.name, "dataset": e.dataset, "distance": found[e.dataset].value} for e in ranked
        ),
        skipped=skipped,
        warnings=(
            *found[best.dataset].warnings,
            *_alike(best.dataset, found[best.dataset].value, own),
            *_other_look(described[best.dataset], best, features),
        ),
        lineage=lineage_of(best),
    )


def _alike(dataset: str, value: float, own: LabelledFeatures) -> list[str]:
    """Return a warning if the nearest data set looks like the target's own data."""
    if len(own.labels) < 4:
        return []
    first, second = (LabelledFeatures(own.features[h], own.labels[h], own.names) for h in alternate_halves(own.labels))
    if value > ALIKE * distance(first, second).value:
        return []
    return [
        f"{dataset} is no farther from the target than images of one data set are from each other: under another name "
        "it may be the same data, and its search may have seen the validation cases. If so, name another source with "
        "transfer.source=ID"
    ]


def _newest_multi(zoo: Zoo, target: TransferTarget) -> SourceChoice:
    entries = [entry for entry in zoo.entries(Query(kind=search_import.KIND)) if len(datasets_of(entry)) > 1]
    candidates, skipped = _sorted_out(entries, lambda entry: why_not_multi(entry, target))
    if not candidates:
        left = "; ".join(f"{what}: {why}" for what, why in skipped.items()) or "there is no search on several"
        raise NoSourceError(
            f"transfer.source: expected a search on several data sets in {zoo.place.name} that {target.dataset} can "
            f"start from, found none ({left}); {MULTI_REMEDY} --zoo {zoo.place.name}, or take another transfer.source"
        )
    best = max(candidates, key=lambda entry: (entry.created, entry.id))
    count = len(datasets_of(best))
    return SourceChoice(
        zoo=zoo.place.name,
        source=best.id,
        name=best.name,
        dataset=best.dataset,
        wanted=MULTI,
        why=f"it was searched on {count} data sets together, the newest of {len(candidates)} such that fit",
        skipped=skipped,
        lineage=lineage_of(best),
    )


def _sorted_out(entries: Sequence[Entry], problem: Callable[[Entry], str]) -> tuple[list[Entry], dict[str, str]]:
    """Return the entries without a problem, and the problems of the others by ``id (name)``."""
    problems = [(entry, problem(entry)) for entry in entries]
    skipped = {f"{entry.id} ({entry.name})": why for entry, why in problems if why}
    return [entry for entry, why in problems if not why], skipped


def _preference(entry: Entry, target: TransferTarget) -> tuple[bool, bool, bool, str]:
    """Return what decides between searches on one data set, the smaller the better; the id makes it certain."""
    decided = entry.facts.get("search", {}).get("status") == "decided"
    return not decided, entry.dimensions != target.dimensions, entry.configuration != target.configuration, entry.id


def _features(zoo: Zoo, target: TransferTarget) -> list[Entry]:
    """Return the features of data sets that the target's can be compared with."""
    entries = zoo.entries(Query(kind=dataset_features.FEATURES, dimensions=target.dimensions))
    return [entry for entry in entries if entry.facts.get("encoder") == dataset_features.RANDOM]


def _described(features: Sequence[Entry], searches: Sequence[Entry], target: TransferTarget) -> dict[str, Entry]:
    """Return the features to compare by for each data set of the searches.

    Those of the target's configuration first, of these those of the plans and patch size of the search that is taken if
    this data set is the nearest, then the newest.
    """
    found = {}
    for dataset in {entry.dataset for entry in searches}:
        taken = min((entry for entry in searches if entry.dataset == dataset), key=lambda e: _preference(e, target))
        found[dataset] = max(
            (entry for entry in features if entry.dataset == dataset),
            key=lambda e: (e.configuration == target.configuration, sees_alike(e, taken), e.created, e.id),
        )
    return found


def _other_look(taken: Entry, search: Entry, features: Sequence[Entry]) -> list[str]:
    """Return a warning if a search's data set was not compared as the search sees it, and why it was not."""
    if sees_alike(taken, search):
        return []
    own = any(sees_alike(entry, search) for entry in features if entry.dataset == search.dataset)
    why = "those of its own are of another configuration than the target's" if own else "the zoo has none of its own"
    return [
        f"{search.dataset} was compared by features of other plans or another patch size than its search's "
        f"({taken.plans.get('plans_name')}, {list(taken.patch_size)}); {why}"
    ]
