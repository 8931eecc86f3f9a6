from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports.arrow_routing import Box
from nnunet_iac.reports.genotype_graph import genotype_graph_data
from nnunet_iac.reports.graph_layout import layout_graph


def layout(seed: int, nodes: int):
    graph = genotype_graph_data(Genotype.random(seed=seed, shape=CellShape(nodes=nodes)))
    names = {kind: [v.name for v in graph.vertices if v.kind == kind] for kind in ("input", "node")}
    arrows = [(a.source, a.target, str(a.operation)) for a in graph.operations]
    return arrows, layout_graph(names["input"], names["node"], "output", arrows, "skip")


@pytest.mark.parametrize("nodes", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_labels_cover_neither_each_other_nor_boxes(seed, nodes):
    _, found = layout(seed, nodes)
    labels = [curve.label for curve in found.curves]
    assert not any(a.meets(b) for a, b in combinations(labels, 2))
    assert not any(label.meets(box) for label in labels for box in found.boxes.values())


def test_curves_run_from_the_rim_of_their_source_to_the_rim_of_their_target():
    arrows, found = layout(5, 4)
    for (source, target, _), curve in zip(arrows, found.curves, strict=True):
        ends = np.array([curve.points[0], curve.points[-1]])
        assert found.boxes[source].holds(ends, 0.1)[0] and found.boxes[target].holds(ends, 0.12)[1]


def test_everything_lies_inside_the_borders():
    _, found = layout(9, 4)
    points = np.array([point for curve in found.curves for point in curve.points])
    assert (points[:, 0] > found.left).all() and (points[:, 0] < found.right).all()
    assert (points[:, 1] > found.bottom).all() and (points[:, 1] < found.top).all()


def test_equal_graphs_have_equal_layouts():
    assert layout(3, 3)[1] == layout(3, 3)[1]


def test_boxes_meet_when_they_overlap_or_come_too_near():
    box = Box(0, 0, 2, 2)
    assert box.meets(Box(1.9, 0, 2, 2)) and not box.meets(Box(2.1, 0, 2, 2))
    assert box.meets(Box(2.1, 0, 2, 2), margin=0.2)
