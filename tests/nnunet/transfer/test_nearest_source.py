"""Which search of a zoo is chosen: a named one, or that of the nearest of planted data sets; no image is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_iac.cells.genotype import OPERATIONS
from nnunet_iac.nnunet.cases import dataset_features
from nnunet_iac.nnunet.transfer.nearest_source import NoSourceError, SourceChoice, choose_source
from nnunet_iac.nnunet.transfer.serving_source import TransferTarget
from nnunet_iac.nnunet.zoo_entries import search_import
from nnunet_iac.similarity.labelled_features import LabelledFeatures
from nnunet_iac.zoo import entry as entry_module
from nnunet_iac.zoo.entry import Description, Entry
from nnunet_iac.zoo.store import Zoo

TARGET = "Dataset900_Target"


def cloud(centre: float, seed: int) -> torch.Tensor:
    return centre + torch.randn(20, 4, generator=torch.Generator().manual_seed(seed))


def never() -> LabelledFeatures:
    raise AssertionError("the target was looked at although nothing is to be compared")


def target(features: Callable[[], LabelledFeatures] | None = None) -> TransferTarget:
    def own() -> LabelledFeatures:
        return LabelledFeatures(cloud(0.0, 0).double().numpy(), torch.ones(20, dtype=torch.long).numpy(), {1: "heart"})

    return TransferTarget(TARGET, "2d", 2, 4, features or own)


class Planted:
    """A zoo to be filled."""

    def __init__(self, folder: Path) -> None:
        self.zoo = Zoo.create(folder)

    def _add(
        self,
        kind: str,
        dataset: str,
        facts: dict[str, Any],
        tensors: Any,
        patch: tuple[int, ...],
        plan: tuple[str, str] | None,
    ) -> Entry:
        plans, configuration = plan or ("nnUNetPlans", "2d" if len(patch) == 2 else "3d_fullres")
        about = Description(
            kind=kind,
            name=f"{kind} of {dataset}",
            dataset=dataset,
            plans={"plans_name": plans},
            configuration=configuration,
            trainer="somebody",
            channels=("MR",),
            spacing=(1.0,) * len(patch),
            patch_size=patch,
            facts=facts,
        )
        return self.zoo.add(about, tensors).entry

    def search(
        self,
        dataset: str,
        nodes: int = 4,
        status: str = "decided",
        seed: int = 0,
        patch: tuple[int, ...] = (8, 8),
        plan: tuple[str, str] | None = None,
        **facts: Any,
    ) -> Entry:
        known = {"cell": {"nodes": nodes}, "operations": list(OPERATIONS), "search": {"status": status}}
        return self._add(search_import.KIND, dataset, {**known, **facts}, {"w": cloud(0.0, 100 + seed)}, patch, plan)

    def features(
        self,
        dataset: str,
        centre: float,
        patch: tuple[int, ...] = (8, 8),
        encoder: str = "random",
        plan: tuple[str, str] | None = None,
    ) -> Entry:
        tensors = {"features": cloud(centre, 1), "labels": torch.ones(20, dtype=torch.long)}
        facts = {"encoder": encoder, "names": {"1": "heart"}}
        return self._add(dataset_features.FEATURES, dataset, facts, tensors, patch, plan)


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted(tmp_path / "zoo")


class TestNearest:
    def test_features_as_the_search_sees_its_data_come_first_and_others_are_a_warning(self, planted: Planted) -> None:
        planted.search("Dataset901_A")
        own = planted.features("Dataset901_A", 0.5)
        others = [planted.features("Dataset901_A", 3.0 + seed, patch=(16, 16 + seed)) for seed in range(4)]
        assert any(own.id < other.id for other in others), "the highest id was taken"

        found = choose_source(planted.zoo, "nearest", target())
        planted.zoo.remove([own.id])
        other = choose_source(planted.zoo, "nearest", target())

        assert found.distances[0]["distance"] < 2 < other.distances[0]["distance"]
        text = "features of other plans or another patch size"
        assert not any(text in one for one in found.warnings) and any(text in one for one in other.warnings)

    def test_with_two_searches_and_their_features_those_of_the_one_taken_count(self, planted: Planted) -> None:
        # Found with the searches of the README's zoo: the newest features were of the search that is not taken.
        taken = planted.search("Dataset901_A")
        own = planted.features("Dataset901_A", 0.5)
        planted.search("Dataset901_A", status="undecided", seed=1, patch=(16, 16))
        planted.features("Dataset901_A", 3.0, patch=(16, 16))

        found = choose_source(planted.zoo, "nearest", target())
        planted.zoo.remove([own.id])
        other = choose_source(planted.zoo, "nearest", target())

        assert found.source == other.source == taken.id
        assert found.distances[0]["distance"] < 2 < other.distances[0]["distance"]
        assert not any("features of other plans" in text for text in found.warnings)
        assert any("features of other plans" in text for text in other.warnings)

    def test_features_of_the_targets_configuration_come_first_and_the_warning_says_so(self, planted: Planted) -> None:
        planted.search("Dataset901_A", plan=("own", "2d_big"))
        planted.features("Dataset901_A", 0.5, plan=("own", "2d_big"))
        planted.features("Dataset901_A", 3.0, plan=("other", "2d"))

        found = choose_source(planted.zoo, "nearest", target())

        assert found.distances[0]["distance"] > 2
        (warning,) = [text for text in found.warnings if "features of other plans" in text]
        assert "of another configuration than the target's" in warning and "none of its own" not in warning

    @pytest.mark.parametrize(("first", "second", "nearest"), [(0.5, 3.0, "Dataset901_A"), (3.0, 0.5, "Dataset902_B")])
    def test_the_nearest_of_two_planted_data_sets_is_found(
        self, planted: Planted, first: float, second: float, nearest: str
    ) -> None:
        for dataset, centre in (("Dataset901_A", first), ("Dataset902_B", second)):
            planted.search(dataset)
            planted.features(dataset, centre)
        choice = choose_source(planted.zoo, "nearest", target())
        assert choice.dataset == nearest and planted.zoo.entry(choice.source).dataset == nearest
        values = [row["distance"] for row in choice.distances]
        assert len(values) == 2 and values == sorted(values)
        text = "\n".join(choice.lines())
        assert f"its data set, {nearest}, is the nearest to {TARGET} of 2" in text and f"{values[1]:.4f} to" in text

    def test_what_cannot_be_compared_is_named_and_skipped(self, planted: Planted) -> None:
        planted.search("Dataset901_A")
        planted.features("Dataset901_A", 3.0)
        planted.search("Dataset902_Bare")
        planted.search("Dataset903_Cubes")
        planted.features("Dataset903_Cubes", 0.0, patch=(4, 8, 8))
        planted.search("Dataset904_Foreign")
        planted.features("Dataset904_Foreign", 0.0, encoder="timm:resnet18")
        planted.search("Dataset905_Small", nodes=2)
        planted.features("Dataset905_Small", 0.0)
        own = planted.search(TARGET)
        planted.features(TARGET, 0.0)
        choice = choose_source(planted.zoo, "nearest", target())
        assert choice.dataset == "Dataset901_A" and len(choice.skipped) == 5
        text = "\n".join(choice.lines())
        for part in (
            "left out",
            "no dataset features of Dataset902_Bare in 2D",
            "no dataset features of Dataset903_Cubes in 2D",
            "no dataset features of Dataset904_Foreign",
            "its cells have 2 nodes, cell.nodes is 4",
            f"the target's own data set and may have seen this fold's validation cases; transfer.source={own.id}",
        ):
            assert part in text

    def test_one_whose_weights_started_from_the_target_is_left_out_however_near(self, planted: Planted) -> None:
        for dataset, centre in (("Dataset901_A", 0.0), ("Dataset902_B", 3.0)):
            planted.features(dataset, centre)
        seen = planted.search("Dataset901_A", ancestors=["Dataset777_Other", TARGET])
        other = planted.search("Dataset902_B", ancestors=["Dataset777_Other"])

        choice = choose_source(planted.zoo, "nearest", target())

        assert choice.source == other.id and [row["dataset"] for row in choice.distances] == ["Dataset902_B"]
        assert choice.lineage == ("Dataset902_B", "Dataset777_Other")
        text = f"its weights started from the target's own data set; transfer.source={seen.id} takes it all the same"
        assert text in "\n".join(choice.lines())

    def test_of_several_searches_on_one_data_set_a_decided_one_is_taken(self, planted: Planted) -> None:
        planted.features("Dataset901_A", 1.0)
        entries = [planted.search("Dataset901_A", status=s, seed=n) for n, s in enumerate(("undecided", "decided"))]
        choice = choose_source(planted.zoo, "nearest", target())
        assert choice.source == entries[1].id and "of its 2 searches" in choice.why

    def test_a_zoo_without_any_search_names_the_remedy(self, planted: Planted) -> None:
        planted.features("Dataset901_A", 1.0)
        with pytest.raises(ValueError, match=r"expected a search supernet in .*, found none; add the fold"):
            choose_source(planted.zoo, "nearest", target(never))

    def test_a_zoo_without_any_features_names_all_and_the_remedy(self, planted: Planted) -> None:
        entry = planted.search("Dataset901_A")
        with pytest.raises(ValueError, match=rf"{entry.id} .*no dataset features .*or name an entry with transfer"):
            choose_source(planted.zoo, "nearest", target(never))

    def test_there_must_be_a_zoo(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            choose_source(Zoo(tmp_path / "none"), "nearest", target(never))

    def test_the_choice_reads_back_the_same(self, planted: Planted) -> None:
        planted.search("Dataset901_A")
        planted.features("Dataset901_A", 1.0)
        choice = choose_source(planted.zoo, "nearest", target())
        again = SourceChoice.from_dict(json.loads(json.dumps(choice.to_dict())))
        assert again.lines() == choice.lines()
        with pytest.raises(ValueError, match="schema 1, got 7"):
            SourceChoice.from_dict({**choice.to_dict(), "schema": 7})


class TestNamed:
    def test_the_start_of_an_id_is_enough_and_nothing_is_compared(self, planted: Planted) -> None:
        entry = planted.search("Dataset901_A")
        choice = choose_source(planted.zoo, entry.id[:6], target(never))
        assert choice.source == entry.id and not choice.warnings

    def test_the_target_s_own_data_set_is_taken_with_a_warning(self, planted: Planted) -> None:
        choice = choose_source(planted.zoo, planted.search(TARGET).id, target(never))
        assert "own data set" in choice.lines()[-1] and choice.lines()[-1].startswith("WARNING")

    @pytest.mark.parametrize(
        ("facts", "message"),
        [
            ({"nodes": 3}, "its cells have 3 nodes, cell.nodes is 4"),
            ({"operations": ["none", "sep"]}, r"its edges have 2 operations \(none, sep\), those of .* 8 \(none, max_"),
            ({"operations": list(reversed(OPERATIONS))}, r"its edges have 8 operations \(dil_conv_5x5"),
        ],
    )
    def test_other_nodes_and_operations_are_refused_and_both_named(
        self, planted: Planted, facts: dict[str, Any], message: str
    ) -> None:
        entry = planted.search("Dataset901_A", **facts)
        with pytest.raises(ValueError, match=message):
            choose_source(planted.zoo, entry.id, target(never))

    def test_an_entry_of_another_kind_is_refused(self, planted: Planted) -> None:
        entry = planted.features("Dataset901_A", 1.0)
        with pytest.raises(ValueError, match="it is a 'dataset features', no 'search supernet'"):
            choose_source(planted.zoo, entry.id, target(never))


def test_the_targets_own_data_under_another_name_is_taken_with_a_warning(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "zoo")
    for dataset, centre in (("Dataset104_CopyOfTarget", 0.0), ("Dataset902_B", 3.0)):
        planted.search(dataset)
        planted.features(dataset, centre)

    copy = choose_source(planted.zoo, "nearest", target())
    planted.zoo.remove([copy.source])
    other = choose_source(planted.zoo, "nearest", target())

    assert (copy.dataset, other.dataset) == ("Dataset104_CopyOfTarget", "Dataset902_B")
    assert [sum("may be the same data" in text for text in choice.warnings) for choice in (copy, other)] == [1, 0]
    assert "name another source with transfer.source=ID" in copy.lines()[-1]


class TestMulti:
    SEVERAL = ("Dataset901_A", "Dataset902_B")

    def multi(self, planted: Planted, datasets: tuple[str, ...] = SEVERAL, created: str = "", **facts: Any) -> Entry:
        with pytest.MonkeyPatch.context() as patch:
            if created:
                patch.setattr(entry_module, "datetime", Clock(created))
            return planted.search(" + ".join(datasets), datasets=list(datasets), **facts)

    def test_the_newest_is_taken_and_nothing_is_compared(self, planted: Planted) -> None:
        new = self.multi(planted, created="2026-03-01", seed=1)
        self.multi(planted, created="2026-01-01", seed=2)
        planted.search("Dataset903_C")
        choice = choose_source(planted.zoo, "multi", target(never))
        assert choice.source == new.id and choice.wanted == "multi" and choice.lineage == self.SEVERAL
        assert "searched on 2 data sets together, the newest of 2 such that fit" in choice.lines()[0]
        assert SourceChoice.from_dict(choice.to_dict()).lines() == choice.lines()

    def test_one_that_saw_the_target_or_does_not_fit_is_left_out_with_a_line(self, planted: Planted) -> None:
        old = self.multi(planted, created="2026-01-01")
        self.multi(planted, ("Dataset901_A", TARGET), created="2026-02-01")
        self.multi(planted, created="2026-03-01", ancestors=[TARGET], seed=1)
        self.multi(planted, created="2026-04-01", nodes=2, seed=2)
        choice = choose_source(planted.zoo, "multi", target(never))
        assert choice.source == old.id and len(choice.skipped) == 3
        text = "\n".join(choice.lines())
        assert text.count(f"{TARGET}, the target, is among the data sets that its weights have seen") == 2
        assert "its cells have 2 nodes, cell.nodes is 4" in text and text.count("Transfer: left out") == 3

    def test_other_dimensions_are_left_out(self, planted: Planted) -> None:
        self.multi(planted)
        deep = TransferTarget(TARGET, "3d_fullres", 3, 4, never)
        with pytest.raises(NoSourceError, match=r"searched in 2D, the target is in 3D; transfer\.source="):
            choose_source(planted.zoo, "multi", deep)

    def test_where_none_is_left_the_remedy_is_named(self, planted: Planted) -> None:
        planted.search("Dataset903_C")
        with pytest.raises(NoSourceError, match=r"there is no search on several\); .* zoo build --multi -d ID ID"):
            choose_source(planted.zoo, "multi", target(never))
        entry = self.multi(planted, ("Dataset901_A", TARGET))
        with pytest.raises(NoSourceError, match=rf"{entry.id} .* the target, is among .* zoo build --multi"):
            choose_source(planted.zoo, "multi", target(never))
        named = choose_source(planted.zoo, entry.id, target(never))
        assert "own data set" in named.warnings[0], "a named one is taken with a warning"

    def test_nearest_does_not_take_it_even_if_there_were_features(self, planted: Planted) -> None:
        entry = self.multi(planted)
        planted.features(entry.dataset, 0.0)
        planted.search("Dataset903_C")
        planted.features("Dataset903_C", 3.0)
        choice = choose_source(planted.zoo, "nearest", target())
        assert choice.dataset == "Dataset903_C"
        assert f"which have no distance; transfer.source=multi or transfer.source={entry.id}" in "\n".join(
            choice.lines()
        )


class Clock:
    """Stands for `datetime`: it is always the same day."""

    def __init__(self, day: str) -> None:
        self.day = day

    def now(self, _: Any) -> datetime:
        return datetime.fromisoformat(self.day).replace(tzinfo=timezone.utc)
