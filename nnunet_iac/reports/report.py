"""Write a report: one HTML page, and its pictures as PNG files in a folder beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nnunet_iac.atomic import write_bytes, write_text
from nnunet_iac.reports.artefacts import read_results
from nnunet_iac.reports.blocks import Picture, pictures_of
from nnunet_iac.reports.page import render_page
from nnunet_iac.reports.sections import build_report

DEFAULT_NAME = "report.html"
"""Name of the page in the folder that is reported, unless another file is asked for."""

Progress = Callable[[tuple[Picture, ...]], Iterable[Picture]]
"""Wraps the pictures while they are drawn, as ``tqdm.tqdm`` does."""


@dataclass(frozen=True)
class WrittenReport:
    """Where a report was written: the page, and the folder of its pictures with their file names."""

    page: Path
    folder: Path
    pictures: tuple[str, ...]


def write_report(
    folder: Path, output: Path | None = None, fold: str | None = None, progress: Progress = iter
) -> WrittenReport:
    """Read a model folder or a fold folder and write its report.

    Everything is drawn before anything is written; the page comes last, so it never points to missing pictures. The
    PNG files lie in a folder named as the page without its ending (``report/`` beside ``report.html``).

    Raises:
        FileNotFoundError: if the folder holds nothing to report, or the output's folder does not exist.
        ValueError: if an artefact is damaged or of another version, or the output's name does not end in ``.html``.
        OSError: from the file system.
    """
    if output is not None:
        _check_output(output)
    page = output if output is not None else folder / DEFAULT_NAME
    report = build_report(read_results(folder, fold))
    wanted = pictures_of(tuple(block for section in report.sections for block in section.blocks))
    drawn = {picture.name: picture.draw() for picture in progress(wanted)}
    html = render_page(report, drawn)
    beside = page.with_suffix("")
    beside.mkdir(exist_ok=True)
    for name, png in drawn.items():
        write_bytes(beside / f"{name}.png", png)
    write_text(page, html)
    return WrittenReport(page, beside, tuple(f"{name}.png" for name in drawn))


def _check_output(page: Path) -> None:
    if page.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--output: expected a file name ending in .html, got {page}; the report is an HTML page")
    if not page.parent.is_dir():
        raise FileNotFoundError(f"--output: expected a file in an existing folder, got {page}; make the folder first")
