"""The index finds what comparing with everything finds, says when that is proved, and survives the disk."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from label_sets import gaussians_of, labelled

from nnunet_iac.similarity.index import SourceIndex
from nnunet_iac.similarity.index_file import load_index, save_index
from nnunet_iac.similarity.mixture import LabelGaussians, label_transport
from nnunet_iac.similarity.sketches import SketchSettings

SETTINGS = SketchSettings(dimensions=4)


def source(seed: int) -> LabelGaussians:
    return gaussians_of(labelled(seed, labels=1 + seed % 3))


@pytest.fixture(scope="module")
def index() -> SourceIndex:
    index = SourceIndex(SETTINGS)
    for seed in range(60):
        index.add(f"source {seed}", source(seed))
    return index


def by_hand(index: SourceIndex, target: LabelGaussians) -> list[tuple[str, float]]:
    distances = [(kept.key, label_transport(kept.labels, target).distance) for kept in index.sources]
    return sorted(distances, key=lambda item: item[1])


@pytest.mark.parametrize("seed", range(100, 106))
def test_a_proved_answer_is_that_of_comparing_all(index: SourceIndex, seed: int) -> None:
    target = source(seed)
    found = index.search(target, top=5)

    assert found.proved
    assert [(m.key, pytest.approx(m.distance)) for m in found.matches] == by_hand(index, target)[:5]


def test_few_comparisons_find_the_nearest(index: SourceIndex) -> None:
    targets = [source(seed) for seed in range(100, 120)]
    found = [index.search(target, top=3, most=10) for target in targets]
    truth = [by_hand(index, target) for target in targets]

    hits = [answer.matches[0].key == near[0][0] for answer, near in zip(found, truth, strict=True)]
    assert all(answer.compared <= 10 for answer in found) and np.mean(hits) >= 0.9


def test_what_it_claims_to_be_proved_is_true(index: SourceIndex) -> None:
    claims = []
    for seed in range(100, 130):
        target = source(seed)
        answer = index.search(target, top=2, most=3)
        claims.append(answer.proved)
        assert not answer.proved or [m.key for m in answer.matches] == [key for key, _ in by_hand(index, target)[:2]]
    assert 0 < sum(claims) < len(claims)


def test_a_source_finds_itself_first_within_its_slack() -> None:
    index = SourceIndex(SETTINGS, rank=2)
    for seed in range(10):
        index.add(str(seed), source(seed))

    (match,) = index.search(source(7), top=1).matches

    assert match.key == "7" and 0 < match.distance <= match.slack * (1 + 1e-6)


def test_slack_bounds_what_truncation_changes() -> None:
    index = SourceIndex(SETTINGS, rank=1)
    index.add("a", source(2))
    target = source(5)

    (match,) = index.search(target, top=1).matches

    assert abs(match.distance - label_transport(source(2), target).distance) <= match.slack


def test_adding_a_source_changes_no_other(index: SourceIndex) -> None:
    grown = SourceIndex(SETTINGS)
    for seed in range(30):
        grown.add(f"source {seed}", source(seed))
    before = grown.search(source(200), top=30).matches
    for seed in range(30, 60):
        grown.add(f"source {seed}", source(seed))

    np.testing.assert_array_equal(grown.table.roots, index.table.roots)
    after = {match.key: match.distance for match in grown.search(source(200), top=60).matches}
    assert len(after) == 60 and all(after[match.key] == match.distance for match in before)


def test_an_index_comes_back_from_disk_as_it_was_and_grows_on(index: SourceIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "zoo.npz")
    again = load_index(tmp_path / "zoo.npz")

    assert again.search(source(300)) == index.search(source(300))
    assert (len(again), again.settings, again.rank) == (60, SETTINGS, index.rank)
    again.add("new", source(300))
    assert again.search(source(300), top=1).matches[0].key == "new" and len(index) == 60
    assert [path.name for path in tmp_path.iterdir()] == ["zoo.npz"]


def test_files_that_are_no_index_are_refused_and_not_unpickled(tmp_path: Path, index: SourceIndex) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_index(tmp_path / "none.npz")
    files = {name: tmp_path / f"{name}.npz" for name in ("text", "pickled", "foreign", "newer", "part", "cut")}
    files["text"].write_text("no archive")
    np.savez(files["pickled"], schema=np.array([{"a": 1}], dtype=object))
    np.savez(files["foreign"], schema=np.int64(1), keys=np.array(["a"]))
    np.savez(files["newer"], schema=np.int64(2))
    np.save(files["part"].with_suffix(".npy"), np.zeros(3))
    files["part"].with_suffix(".npy").rename(files["part"])
    save_index(index, files["cut"])
    files["cut"].write_bytes(files["cut"].read_bytes()[:-100])
    for name, says in {"foreign": "without deviations", "newer": "expected an index of version 1"}.items():
        with pytest.raises(ValueError, match=says):
            load_index(files.pop(name))
    for path in files.values():
        with pytest.raises(ValueError, match="cannot be read"):
            load_index(path)


def test_nothing_in_the_file_is_an_object(index: SourceIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path / "zoo.npz")

    assert zipfile.is_zipfile(tmp_path / "zoo.npz")
    with np.load(tmp_path / "zoo.npz", allow_pickle=False) as arrays:
        assert all(array.dtype != object for array in arrays.values())


def test_wrong_use_is_refused(index: SourceIndex) -> None:
    with pytest.raises(ValueError, match="got none; add sources"):
        SourceIndex(SETTINGS).search(source(0))
    with pytest.raises(ValueError, match="top: expected a positive"):
        index.search(source(0), top=0)
    with pytest.raises(ValueError, match="most: expected at least top, 3"):
        index.search(source(0), top=3, most=2)
    with pytest.raises(ValueError, match="'source 1', which the index has"):
        index.add("source 1", source(1))
    with pytest.raises(ValueError, match="expected 4 dimensions"):
        index.search(gaussians_of(labelled(0, dimensions=3)))
    with pytest.raises(ValueError, match="expected 4 dimensions"):
        index.add("other", gaussians_of(labelled(0, dimensions=3)))
    with pytest.raises(ValueError, match="rank: expected a positive"):
        SourceIndex(SETTINGS, rank=0)
    assert len(index) == 60
