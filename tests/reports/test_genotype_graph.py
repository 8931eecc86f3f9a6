from __future__ import annotations

import subprocess

import pytest

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports import graphviz_drawing
from nnunet_iac.reports.canvas import new_figure
from nnunet_iac.reports.genotype_graph import draw_genotype_graph, genotype_graph_data
from nnunet_iac.reports.graphviz_drawing import dot_source, graphviz_png

CELL = ((("sep_conv_3x3", 0), ("skip_connect", 1)), (("max_pool_3x3", 1), ("dil_conv_5x5", 2)))
GENOTYPE = Genotype(2, "encoder", kind="searched", cells=(CELL,))


def test_arrows_are_the_edges_of_the_cell():
    graph = genotype_graph_data(GENOTYPE)
    assert [(a.source, a.target, a.operation) for a in graph.operations] == [
        ("skip copy", "n1", "sep_conv_3x3"),
        ("skip", "n1", "skip_connect"),
        ("skip", "n2", "max_pool_3x3"),
        ("n1", "n2", "dil_conv_5x5"),
    ]


def test_all_nodes_and_the_skip_reach_the_output():
    graph = genotype_graph_data(GENOTYPE)
    assert {a.source for a in graph.arrows if a.target == "output"} == {"n1", "n2", "skip"}


def test_each_level_has_its_own_graph():
    genotype = Genotype.random(seed=0, count=3)
    assert genotype_graph_data(genotype, 0) != genotype_graph_data(genotype, 2)


def test_labels_and_boxes_are_all_drawn():
    ax = new_figure(8, 4).add_axes((0, 0, 1, 1))
    draw_genotype_graph(genotype_graph_data(GENOTYPE), ax)
    texts = sorted(text.get_text() for text in ax.texts)
    operations = ["dil conv 5×5", "max pool 3×3", "sep conv 3×3", "skip connect"]  # noqa: RUF001
    assert texts == sorted([*operations, "skip", "skip copy", "n1", "n2", "skip + project(concat)"])


def test_dot_source_names_every_operation():
    source = dot_source(genotype_graph_data(GENOTYPE))
    assert '"n1" -> "n2" [label=" dil conv 5×5 "' in source  # noqa: RUF001
    assert source.count("style=dashed") == 3


def test_without_the_dot_program_there_is_no_graphviz_picture(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert graphviz_png(genotype_graph_data(GENOTYPE)) is None


def test_a_dot_program_that_fails_is_as_good_as_none(monkeypatch):
    graphviz = pytest.importorskip("graphviz", reason="the graphviz package is not installed")

    def fail(*args: object, **kwargs: object) -> bytes:
        raise subprocess.CalledProcessError(1, "dot")

    monkeypatch.setattr(graphviz_drawing.shutil, "which", lambda name: name)
    monkeypatch.setattr(graphviz.Source, "pipe", fail)
    assert graphviz_png(genotype_graph_data(GENOTYPE)) is None


@pytest.mark.skipif(graphviz_drawing.shutil.which("dot") is None, reason="the dot program is not installed")
def test_dot_draws_a_png():
    drawn = graphviz_png(genotype_graph_data(GENOTYPE))
    assert drawn is not None and drawn.startswith(b"\x89PNG")
