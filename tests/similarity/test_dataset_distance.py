"""One contract for all methods, and what is left out is counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from label_sets import labelled

from nnunet_iac.similarity.distance import METHODS, Method, distance
from nnunet_iac.similarity.labelled_features import LabelledFeatures

NAN = float("nan")


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_is_a_finite_symmetric_number_and_json(self, method: Method) -> None:
        a, b = labelled(0), labelled(1, labels=2)
        result = distance(a, b, method=method)

        assert np.isfinite(result.value) and result.value > 0 and result.warnings == ()
        assert result.value == pytest.approx(distance(b, a, method=method).value, rel=1e-3)
        assert json.loads(json.dumps(result.to_dict()))["value"] == result.value

    def test_is_in_the_unit_of_the_features(self, method: Method) -> None:
        a, b = labelled(0), labelled(1)
        tenfold = [LabelledFeatures(10 * side.features, side.labels) for side in (a, b)]

        assert distance(*tenfold, method=method).value == pytest.approx(10 * distance(a, b, method=method).value)

    def test_is_near_zero_for_a_set_and_itself(self, method: Method) -> None:
        a = labelled(0)

        assert method == "otdd-entropic" or distance(a, a, method=method).value < 1e-6

    def test_works_with_fewer_samples_than_dimensions(self, method: Method) -> None:
        a, b = (labelled(seed, per_label=2, dimensions=30) for seed in (0, 1))

        assert np.isfinite(distance(a, b, method=method).value)

    def test_orders_shifts_by_their_size(self, method: Method) -> None:
        a = labelled(0)
        values = [distance(a, LabelledFeatures(a.features + s, a.labels), method=method).value for s in (1.0, 2.0, 4.0)]

        assert values == sorted(values) and values[2] > 1.5 * values[1]

    def test_survives_sets_without_any_spread(self, method: Method) -> None:
        constant = LabelledFeatures(np.ones((4, 2)), [1, 1, 2, 2])

        assert distance(constant, constant, method=method).value == 0


def test_what_is_left_out_is_counted_and_named() -> None:
    a = labelled(0, labels=2, per_label=3)
    features = np.concatenate([a.features, [[NAN] * 4, [np.inf, 0, 0, 0]], a.features[:1] + 5])
    side = LabelledFeatures(features, [*a.labels.tolist(), 1, 3, 4], {1: "liver", 3: "cyst", 4: "duct", 5: "vein"})

    result = distance(side, labelled(1, labels=1))

    assert (result.source_dropped.rows, result.source_dropped.labels) == (2, ("cyst", "vein"))
    assert result.source_names == ("liver", "2", "duct") and result.source_dropped.single == ("duct",)
    assert result.warnings == (
        "source: 2 rows with NaN or infinity were dropped",
        "source: 2 labels without a sample were dropped: cyst, vein",
        "source: 1 labels have one sample: duct",
        "target: there is one label only: 1",
    )


def test_dropped_rows_do_not_change_the_distance() -> None:
    a, b = labelled(0), labelled(1)
    more = LabelledFeatures(np.concatenate([a.features, [[NAN] * 4]]), [*a.labels.tolist(), 1])

    assert distance(more, b).value == distance(a, b).value


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"target: expected as many features as the source has, 4, got 5"):
        distance(labelled(0), labelled(0, dimensions=5))
    with pytest.raises(ValueError, match="target: expected at least one row of finite features"):
        distance(labelled(0, dimensions=1), LabelledFeatures([[NAN]], [1]))
    with pytest.raises(ValueError, match="method: expected one of label-gaussians"):
        distance(labelled(0), labelled(1), method="nearest")  # type: ignore[arg-type]


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one row for each region"):
        LabelledFeatures([1.0, 2.0], [1, 2])
    with pytest.raises(ValueError, match="one for each of 2 rows"):
        LabelledFeatures([[1.0], [2.0]], [1])
    with pytest.raises(ValueError, match="number the labels"):
        LabelledFeatures([[1.0]], [0.5])
