"""What the folds of one model share: the plans file with the genotype, guarded by file locks.

nnU-Net keeps one ``plans.json`` for all folds of a model and its predictor builds one network for all of them, so all
folds must carry the same genotype: the first fold that gets here searches, later folds reuse what it wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nnunet_iac.atomic import write_json
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.json_files import read_json
from nnunet_iac.nnunet.files.plans import Plans, genotype_of, read_plans, write_plans

PLANS = "plans.json"
GENOTYPE = "genotype.json"
CHOICE = "transfer.json"
"""In the folder of a fold: the search of a zoo that it starts from."""
RETRIEVAL, RECORD = "retrieval", "retrieval.json"
"""In a model's folder: what was retrieved from a zoo, and the record in there."""


@contextmanager
def locked(folder: Path, name: str, log: Callable[[str], None], message: str) -> Iterator[None]:
    """Hold the file lock ``name`` in ``folder``; while another process holds it, say so every minute.

    The operating system releases the lock of a process that dies.
    """
    lock = FileLock(str(folder / name))
    waited = 0
    while True:
        try:
            lock.acquire(timeout=0.1 if waited == 0 else 60)
            break
        except Timeout:
            log(f"{message} ({waited} min so far)")
            waited += 1
    try:
        yield
    finally:
        lock.release()


def stored_genotype(folder: Path, configuration: str) -> Genotype | None:
    """Return the genotype that the folds of this model share, or None if there is none yet.

    ``genotype.json`` counts; without it (a model from elsewhere) the model's ``plans.json``.

    Raises:
        ValueError: if the file is damaged, or of another configuration.
    """
    path = folder / GENOTYPE
    if path.is_file():
        try:
            record = read_json(path)
            return Genotype.from_dict(record[configuration])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{GENOTYPE}: expected the genotype of {configuration} in {path} ({error!r})") from error
    plans = folder / PLANS
    return genotype_of(read_plans(plans), configuration) if plans.is_file() else None


def store_genotype(folder: Path, configuration: str, genotype: Genotype | None) -> None:
    """Write the genotype that all folds of this model share."""
    if genotype is not None:
        write_json(folder / GENOTYPE, {configuration: genotype.to_dict()})


def store_plans(folder: Path, plans: Plans) -> None:
    """Write the model's plans whole or not at all."""
    write_plans(folder / PLANS, plans)
