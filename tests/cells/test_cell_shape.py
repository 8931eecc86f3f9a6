from __future__ import annotations

from dataclasses import fields

import pytest

from nnunet_iac.cells.cell_shape import CellShape
from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.settings import CellSettings

OTHER = CellShape(nodes=3, second_input="encoder", width=0.25, first_level=1, projection="gain")


def test_a_genotype_has_the_fields_of_its_shape():
    genotype = Genotype.random(seed=0, shape=OTHER)
    assert [getattr(genotype, one.name) for one in fields(CellShape)] == [getattr(OTHER, f.name) for f in fields(OTHER)]
    assert genotype.to_dict().items() >= OTHER.to_dict().items() and len(genotype.cells[0]) == OTHER.nodes


def test_a_genotype_is_no_shape_of_the_same_fields():
    assert Genotype.identity() != CellShape()


def test_the_settings_have_its_defaults_and_reach_every_field():
    assert CellSettings().shape == CellShape()
    named = {one.name: getattr(OTHER, one.name) for one in fields(CellShape)}
    assert CellSettings(**named).shape == OTHER


@pytest.mark.parametrize("name", [one.name for one in fields(CellShape)])
def test_a_field_out_of_range_is_named(name):
    with pytest.raises(ValueError, match=f"^{name}: expected .*, got 'wrong'$"):
        CellShape(**{name: "wrong"})


def test_all_faults_are_named_together():
    with pytest.raises(ValueError, match=r"nodes: .*; .*width: "):
        CellShape(nodes=0, width=0)


def test_levels_without_a_cell_are_not_counted():
    assert [CellShape(first_level=first).levels_with_cells(3) for first in range(3)] == [3, 2, 1]
    with pytest.raises(ValueError, match="expected at most 2, since the plan has 3 skip connections, got 3"):
        CellShape(first_level=3).levels_with_cells(3)
