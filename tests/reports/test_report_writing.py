from __future__ import annotations

import json
import sys

import pytest

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.reports import report as reports
from nnunet_iac.reports.artefacts import read_results
from nnunet_iac.reports.blocks import pictures_of
from nnunet_iac.reports.report import write_report
from nnunet_iac.reports.sections import build_report


def names_of(model):
    sections = build_report(read_results(model)).sections
    return [picture.name for picture in pictures_of(tuple(block for s in sections for block in s.blocks))]


def course_of(model):
    blocks = [block for section in build_report(read_results(model)).sections for block in section.blocks]
    return next(picture for picture in pictures_of(tuple(blocks)) if picture.name == "fold_0_course")


def test_the_page_and_its_pictures_are_written(complete):
    written = write_report(complete.model)
    assert written.page == complete.model / "report.html"
    assert written.page.read_text(encoding="utf-8").count("data:image/png;base64,") == len(written.pictures)
    drawn = {path.name: path.read_bytes()[:4] for path in (complete.model / "report").iterdir()}
    assert drawn == {name: b"\x89PNG" for name in written.pictures}


def test_all_that_was_asked_for_is_in_the_report(complete):
    expected = ["genotype", "fold_0_course", "fold_0_pruning", "fold_0_last_epoch", "fold_0_probabilities"]
    assert names_of(complete.model) == [*expected, "fold_0_divergence", "dice", "fold_0_training"]


def test_the_course_tells_of_the_dice_where_it_was_measured(results):
    path = results.with_search(epochs=3, nodes=1).fold() / "search.jsonl"
    assert "validation cases" not in course_of(results.model).caption
    path.write_text(path.read_text().replace('{"schema"', '{"dice": 0.5, "schema"'))
    course = course_of(results.model)
    assert "validation cases" in course.caption and course.draw()[:4] == b"\x89PNG"


def test_three_levels_have_a_picture_each(results):
    names = names_of(results.with_search(groups=3, epochs=9).model)
    for kind in ("genotype", "fold_0_probabilities", "fold_0_divergence"):
        assert [f"{kind}_{level}" in names for level in range(3)] == [True] * 3


def test_several_folds_have_a_section_each(complete):
    complete.with_search(1, epochs=8)
    titles = [section.title for section in build_report(read_results(complete.model)).sections]
    assert "Search, fold 0" in titles and "Search, fold 1" in titles


def test_names_of_pictures_are_unique(complete):
    names = names_of(complete.with_search(1, epochs=8).with_validation(1).model)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_cells_of_every_size_can_be_reported(results, nodes):
    assert "genotype.png" in write_report(results.with_search(epochs=8, nodes=nodes).model).pictures


def test_a_running_search_can_be_reported(results):
    page = write_report(results.with_search(epochs=1, ended=False, torn='{"torn').model).page.read_text()
    assert "search not finished" in page and "1 line of search.jsonl" in page


@pytest.mark.parametrize("genotype", [Genotype.identity(), Genotype.random(seed=1)])
def test_controls_have_a_report_without_a_search(results, genotype):
    results.with_plans(genotype.to_dict()).with_validation()
    assert names_of(results.model) == ["genotype", "dice", "fold_0_training"]
    assert "control" in write_report(results.model).page.read_text()


def test_a_missing_host_is_told_with_where_it_was_looked_for(results):
    results.with_plans(Genotype.identity().to_dict()).with_validation(host=False)
    page = write_report(results.model).page.read_text()
    assert "No host result was found" in page and "nnUNetTrainer__nnUNetPlans_iac__2d" in page


def test_what_files_say_is_escaped(results):
    results.with_plans({**Genotype.random(seed=0).to_dict(), "origin": {"<b>": "<script>alert(1)</script>"}})
    results.with_json(str((results.model / "dataset.json").relative_to(results.root)), {"labels": {"<i>$x": 1}})
    page = write_report(results.with_validation().model).page.read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "<b>" not in page


def test_another_output_takes_its_pictures_along(results, tmp_path):
    results.with_plans(Genotype.identity().to_dict())
    written = write_report(results.model, tmp_path / "mine.html")
    assert (tmp_path / "mine" / "genotype.png").is_file() and written.folder == tmp_path / "mine"
    assert not (results.model / "report").exists()


@pytest.mark.parametrize(("name", "error"), [("page", ValueError), ("none/page.html", FileNotFoundError)])
def test_an_output_that_cannot_be_written_is_refused_first(complete, tmp_path, name, error):
    with pytest.raises(error, match="--output"):
        write_report(complete.model, tmp_path / name)


def test_a_report_that_fails_leaves_nothing_half_written(results, monkeypatch):
    def fail(*args: object) -> str:
        raise ValueError("no page")

    monkeypatch.setattr(reports, "render_page", fail)
    results.with_plans(Genotype.identity().to_dict())
    with pytest.raises(ValueError, match="no page"):
        write_report(results.model)
    assert [path.name for path in results.model.glob("report*")] == []


def test_reports_need_neither_torch_nor_nnunet_nor_pyplot():
    import subprocess

    code = (
        "import sys, nnunet_iac.reports.report; "
        "sys.exit(str({'torch', 'nnunetv2', 'matplotlib.pyplot'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "" and done.stdout == ""


def test_levels_of_a_search_that_leaves_the_highest_out_are_named_and_numbered_alike(results):
    path = results.with_search(groups=2, epochs=9).fold() / "search_result.json"
    record = json.loads(path.read_text())
    record["genotype"]["first_level"] = 1
    path.write_text(json.dumps(record))
    names = names_of(results.model)
    for kind in ("genotype", "fold_0_probabilities", "fold_0_divergence"):
        assert [f"{kind}_{level}" in names for level in range(3)] == [False, True, True]
    page = write_report(results.model).page.read_text(encoding="utf-8")
    assert "level 0 (full resolution)" not in page and "from level 1 on" in page


@pytest.mark.parametrize("wrong", ["x", None, [], True, -1])
def test_a_running_search_whose_plans_name_no_level_is_refused_with_its_file(results, wrong):
    results.with_search(ended=False)
    results.with_plans(None)
    path = results.model / "plans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["2d"]["iac"]["cell"] = {"first_level": wrong}
    path.write_text(json.dumps(plans))
    with pytest.raises(ValueError, match=r"plans\.json: cell\.first_level: expected a number from 0"):
        read_results(results.model)


def test_a_drawn_genotype_is_not_called_the_strongest(results):
    path = results.with_search(epochs=3).fold() / "search_result.json"
    record = json.loads(path.read_text())
    record["status"] = "undecided"
    record["genotype"]["origin"]["select"] = "draw"
    path.write_text(json.dumps(record))
    page = write_report(results.model).page.read_text(encoding="utf-8")
    assert "it is drawn by lot among choices that were not told apart" in page
    assert "it is the strongest" not in page
