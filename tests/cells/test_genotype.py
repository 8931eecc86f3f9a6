from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from nnunet_iac.cells.cell_shape import CellShape, edges_of
from nnunet_iac.cells.genotype import OPERATIONS, Genotype

CELL = ((("sep_conv_3x3", 0), ("skip_connect", 1)), (("max_pool_3x3", 0), ("dil_conv_5x5", 2)))


def searched(**changes: Any) -> Genotype:
    return Genotype(**{"kind": "searched", "nodes": 2, "cells": (CELL,), **changes})


def record(**changes: Any) -> dict[str, Any]:
    return {**searched().to_dict(), **changes}


@pytest.mark.parametrize(
    "genotype",
    [
        Genotype.identity(),
        Genotype.random(seed=4),
        Genotype.random(seed=4, count=5, shape=CellShape(nodes=1, second_input="encoder", width=1)),
        searched(cells=(CELL, CELL[:1] + CELL[:1]), origin={"seed": 1, "status": "decided"}),
    ],
)
def test_it_survives_json(genotype):
    read = Genotype.from_dict(json.loads(json.dumps(genotype.to_dict())))
    assert read == genotype and read.to_dict() == genotype.to_dict() and read.origin == genotype.origin


def test_the_json_form_is_the_contract():
    assert searched().to_dict() == {
        "schema": 1,
        "kind": "searched",
        "nodes": 2,
        "second_input": "decoder",
        "width": 0.5,
        "cells": [[[["sep_conv_3x3", 0], ["skip_connect", 1]], [["max_pool_3x3", 0], ["dil_conv_5x5", 2]]]],
        "origin": {},
    }


def test_it_is_frozen_and_the_origin_does_not_make_it_another():
    genotype = searched(origin={"seed": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        genotype.nodes = 3
    assert genotype == searched(origin={"seed": 2}) and hash(genotype) == hash(searched())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (record(schema=2), r"schema: expected 1, got 2.*another version"),
        (record(schema=None), "schema: expected 1, got None"),
        ({}, "schema: expected 1, got None"),
        ([], "expected a JSON object, got list"),
        ("text", "expected a JSON object, got str"),
        (record(colour="red"), r"missing or unknown: \['colour'\]"),
        ({k: v for k, v in record().items() if k != "nodes"}, r"missing or unknown: \['nodes'\]"),
        (record(cells=None), "cells: expected lists of"),
        (record(cells=[[[["skip_connect", 0, 1]], [["skip_connect", 0]]]]), "cells: expected lists of"),
        (record(cells=[[[["sep_conv_3x3"]]]]), "cells: expected lists of"),
        (record(origin=None), "origin: expected a JSON object, got NoneType"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(wrong, message):
    with pytest.raises(ValueError, match=f"genotype.*{message}"):
        Genotype.from_dict(wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "found"}, "kind: expected one of .* got 'found'"),
        ({"nodes": 0}, "nodes: expected an integer from 1 to 16, got 0"),
        ({"nodes": True}, "nodes: expected an integer"),
        ({"nodes": "2"}, "nodes: expected an integer"),
        ({"second_input": "both"}, "second_input: expected one of .* got 'both'"),
        ({"width": 0}, r"width: expected a number in \(0, 1\], got 0"),
        ({"width": float("nan")}, "width: expected a number"),
        ({"width": True}, "width: expected a number"),
        ({"cells": ()}, "cells: expected at least one cell for kind 'searched', got none"),
        ({"kind": "identity"}, "cells: expected none for kind 'identity', got 1"),
        ({"nodes": 3}, r"cells\[0\]: expected 3 nodes, got 2"),
        ({"cells": (((("sep_conv_3x3", 0),), ()),)}, r"cells\[0\]\[1\]: expected at least one edge, got none"),
        ({"cells": (((("conv", 0),), CELL[1]),)}, r"cells\[0\]\[0\]: expected one of .* got 'conv'"),
        ({"cells": (((("none", 0),), CELL[1]),)}, r"cells\[0\]\[0\]: expected one of .* got 'none'"),
        ({"cells": (((("skip_connect", 2),), CELL[1]),)}, r"cells\[0\]\[0\]: expected an input from 0 to 1, got 2"),
        ({"cells": (CELL, ((("skip_connect", -1),), CELL[1]))}, r"cells\[1\]\[0\]: expected an input .* got -1"),
        ({"cells": (((("skip_connect", 1.0),), CELL[1]),)}, "expected an input from 0 to 1, got 1.0"),
    ],
)
def test_a_field_out_of_range_is_named(changes, message):
    with pytest.raises(ValueError, match=f"genotype: .*{message}"):
        searched(**changes)


def test_all_faults_are_named_together():
    with pytest.raises(ValueError, match="genotype") as caught:
        searched(width=2, second_input="both", cells=(((("conv", 0),), (("skip_connect", 9),)),))
    assert all(word in str(caught.value) for word in ("width", "second_input", "'conv'", "got 9"))


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_shared_and_identity_genotypes_fit_every_network(levels):
    Genotype.identity().check_levels(levels)
    Genotype.random(seed=0).check_levels(levels)
    Genotype.random(seed=0, count=levels).check_levels(levels)


def test_one_cell_for_each_level_must_be_as_many_as_levels():
    with pytest.raises(ValueError, match=r"cells: expected 0 .*, 1 .* or 4 cells.* got 3; search again"):
        Genotype.random(seed=0, count=3).check_levels(4)


def test_a_shared_cell_serves_every_level():
    own, shared = Genotype.random(seed=0, count=3), Genotype.random(seed=0)
    assert [own.cell(level) for level in range(3)] == list(own.cells)
    assert all(shared.cell(level) == shared.cells[0] for level in range(3))


def test_random_cells_are_seeded():
    drawn = [Genotype.random(seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and drawn[0].origin == {"seed": 1} and drawn[0].kind == "random"


def test_random_cells_never_draw_none_and_read_two_distinct_inputs():
    drawn = [node for seed in range(50) for node in Genotype.random(seed=seed).cells[0]]
    assert {operation for node in drawn for operation, _ in node} == set(OPERATIONS[1:])
    assert all(len(node) == 2 and node[0][1] < node[1][1] for node in drawn)
    assert {source for node in drawn for _, source in node} == set(range(5))


def test_the_edges_of_four_nodes_are_in_the_order_of_the_contract():
    edges = edges_of(4)
    assert len(edges) == 14 and edges[:5] == ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2)) and edges[-1] == (3, 4)
