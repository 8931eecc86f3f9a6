"""Builds of supernets as tasks of a cluster: what each runs, how one knows that it is done, how it comes into the zoo.

A task runs ``nnunet-iac zoo build --c`` into a zoo of its own in the build's folder. The process that started the tasks
copies the entries into the zoo that all share, so that only one machine ever writes to that one: SQLite's log and the
zoo's lock do not work between machines.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nnunet_iac.nnunet.files.run_state import alone_in, remove_files
from nnunet_iac.nnunet.supernets.supernet_build import FILES, STATE, SupernetBuild
from nnunet_iac.nnunet.supernets.supernet_entries import describe
from nnunet_iac.zoo.candidates_entries import FEATURES, SUBNETWORKS, SUPERNET, supernet_facts
from nnunet_iac.zoo.cluster_worker import Command
from nnunet_iac.zoo.entries import Query
from nnunet_iac.zoo.entry import Description, Entry
from nnunet_iac.zoo.exchange import copy_entries
from nnunet_iac.zoo.licences import with_licence
from nnunet_iac.zoo.store import Added, Zoo
from nnunet_iac.zoo.weights_files import weights_name

ZOO = "zoo"
"""The task's own zoo in its build's folder; removed when its entries are in the zoo that all share."""

_SAME = ("kind", "dataset", "plans", "configuration", "trainer", "labels", "regions", "channels")
"""What an entry's id is made of, besides the weights; its other facts may be newer or older without a difference."""


@dataclass(frozen=True)
class BuildTask:
    """One build.

    Attributes:
        name: in words.
        folder: of the build, absolute.
        words: arguments of ``nnunet-iac zoo build``, but for the folder and the zoo.
        expected: what can be said of its entries before it runs, by kind.
    """

    name: str
    folder: Path
    words: tuple[str, ...]
    expected: dict[str, Description]

    @property
    def command(self) -> Command:
        """What a worker runs."""
        where = ("-o", str(self.folder), "--zoo", str(self.folder / ZOO), "--c")
        return Command(self.name, ("-m", "nnunet_iac.cli.main", "zoo", "build", *self.words, *where), self.folder)

    def entries_in(self, zoo: Zoo) -> list[Entry]:
        """Return supernet, features and candidates of this very build, or nothing if a zoo has not all of them whole.

        "This very" means: same data, cases, plan and budget. Device and versions do not count.

        Raises:
            ValueError: if the zoo's index is damaged or of a newer schema.
            FileNotFoundError: if there is no zoo.
        """
        supernets = {entry.id: entry for entry in self._fitting(zoo, SUPERNET)}
        features = next(self._fitting(zoo, FEATURES), None)
        for candidates in self._fitting(zoo, SUBNETWORKS):
            supernet = supernets.get(str(candidates.facts.get("supernet")))
            if supernet is not None and features is not None:
                return [supernet, features, candidates]
        return []

    def start_anew(self) -> None:
        """Remove what an earlier run left in the folder.

        Raises:
            TimeoutError: if another process works in it.
        """
        with alone_in(self.folder):
            remove_files(self.folder, FILES)
            shutil.rmtree(self.folder / ZOO, ignore_errors=True)

    def collect(self, zoo: Zoo) -> None:
        """Copy the entries of a task that is done into a zoo, each verified; then remove the task's own zoo.

        Raises:
            FileNotFoundError: if they are not there.
            ValueError: if they are damaged.
        """
        own = Zoo(self.folder / ZOO)
        found = self.entries_in(own)
        if not found:
            raise FileNotFoundError(
                f"expected the entries of {self.name} in {self.folder / ZOO}, found others or none; its data or plans "
                "changed meanwhile (give the same command again), or workers do not see the same folders and cases"
            )
        for one in copy_entries(own, zoo, [entry.id for entry in found]):
            with_licence(zoo, one, self.licence)
        shutil.rmtree(self.folder / ZOO, ignore_errors=True)

    def add_licence(self, zoo: Zoo) -> None:
        """Give the licence to entries of this build that are in a zoo without one.

        Raises:
            ValueError: if the zoo is damaged.
        """
        for entry in self.entries_in(zoo):
            with_licence(zoo, Added(entry, "kept"), self.licence)

    @property
    def licence(self) -> str | None:
        """Of its entries' weights."""
        return self.expected[SUPERNET].licence

    def _fitting(self, zoo: Zoo, kind: str) -> Iterator[Entry]:
        about = self.expected[kind]
        for entry in zoo.entries(Query(kind=kind, dataset=about.dataset)):
            if _fits(entry, about) and _has_weights(zoo, entry):
                yield entry


def build_task(build: SupernetBuild, words: Sequence[str], licence: str | None = None) -> BuildTask:
    """Return the task of a build that was prepared but not run; its state, if it has one, must be of this build.

    Args:
        build: with its folder.
        words: arguments of ``nnunet-iac zoo build`` that lead to it, but for the folder and the zoo.
        licence: of the weights.

    Raises:
        ValueError: if an entry cannot be described.
    """
    data, host = build.data, build.host
    supernet = {
        **supernet_facts(build.supernet),
        "plan": dict(vars(build.plan.training)),
        "iterations": build.plan.iterations,
        "data": data.identity,
        "host": None if host is None else host.facts,
    }
    candidates = {
        "configurations": [configuration.to_dict() for configuration in build.configurations],
        "measured": build.measure_patches.description,
        "responses": build.plan.noise.to_dict(),
        "data": data.identity,
        "space": asdict(build.supernet.space),
    }
    facts = {SUPERNET: supernet, SUBNETWORKS: candidates, FEATURES: build.features_facts}
    return BuildTask(
        name=f"{data.training.dataset} {data.training.configuration} fold {data.training.fold}",
        folder=build.folder.absolute(),
        words=tuple(words),
        expected={kind: describe(build, kind, licence, facts=known) for kind, known in facts.items()},
    )


def check_state(build: SupernetBuild) -> None:
    """Check that an earlier run in a build's folder, if there is one, can be gone on with.

    Raises:
        ValueError: if it was another one, or its state is damaged.
    """
    if (build.folder / STATE).exists():
        build.resume()


def _fits(entry: Entry, about: Description) -> bool:
    is_same = all(getattr(entry, name) == getattr(about, name) for name in _SAME)
    return is_same and all(entry.facts.get(name) == value for name, value in about.facts.items())


def _has_weights(zoo: Zoo, entry: Entry) -> bool:
    """Return whether the weights' file is there with its size; only ``zoo verify`` hashes."""
    path = Path() if zoo.place.folder is None else zoo.place.folder / weights_name(entry.weights)
    return path.is_file() and path.stat().st_size == entry.weights_bytes
