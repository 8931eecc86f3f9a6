"""Any JSON is a genotype, or is refused in words."""

from __future__ import annotations

import json
from typing import Any

from fuzzing import few, jsons, takes_or_says
from hypothesis import given

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype

VALID = Genotype.random(seed=0, count=2, shape=CellShape(nodes=2)).to_dict()


@few
@given(jsons(VALID))
def test_any_json_is_a_genotype_or_is_refused_in_words(record: Any) -> None:
    takes_or_says(Genotype.from_dict, record, named=("genotype",))


@few
@given(jsons(VALID))
def test_what_is_taken_comes_back_the_same(record: Any) -> None:
    try:
        genotype = Genotype.from_dict(record)
    except ValueError:
        return
    assert Genotype.from_dict(json.loads(json.dumps(genotype.to_dict()))) == genotype or "NaN" in json.dumps(record)
