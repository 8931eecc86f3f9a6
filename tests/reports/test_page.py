from __future__ import annotations

from html.parser import HTMLParser

import pytest

from nnunet_iac.reports.blocks import Bullets, Folded, Notice, Paragraph, Picture, Report, Section, Table
from nnunet_iac.reports.canvas import new_figure, png_bytes
from nnunet_iac.reports.page import render_page

EVIL = "<script>alert(1)</script>\"'&"


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def page(*blocks, title="t", subject="s", pictures=None):
    report = Report(title, subject, "badge", "good", (Section("a", "A", blocks),))
    return Reader(render_page(report, pictures or {}))


@pytest.mark.parametrize(
    "block",
    [
        Paragraph(EVIL),
        Bullets((EVIL,)),
        Notice((EVIL,)),
        Table((EVIL,), ((EVIL,),)),
        Folded(EVIL, (Paragraph(EVIL),)),
    ],
)
def test_text_never_becomes_markup(block):
    read = page(block, title=EVIL, subject=EVIL)
    assert "script" not in {tag for tag, _ in read.tags}
    assert read.text.count(EVIL) >= 4


def test_pictures_are_inside_and_nothing_comes_from_outside():
    png = png_bytes(new_figure(1, 1))
    read = page(Picture("p", EVIL, EVIL, lambda: png), pictures={"p": png})
    (image,) = [attrs for tag, attrs in read.tags if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,") and image["alt"] == EVIL
    links = [attrs.get(key) for _, attrs in read.tags for key in ("src", "href") if attrs.get(key)]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not {"link", "script", "iframe"} & {tag for tag, _ in read.tags}


def test_only_columns_of_numbers_are_set_to_the_right():
    read = page(Table(("a", "b"), (("1.5", "1.5"), ("+0.2", "text"))))
    assert [attrs.get("class") for tag, attrs in read.tags if tag == "td"] == ["number", None, "number", None]


def test_sections_can_be_reached_from_the_top():
    read = page(Paragraph("x"))
    assert ("a", {"href": "#a"}) in read.tags and ("section", {"id": "a"}) in read.tags
