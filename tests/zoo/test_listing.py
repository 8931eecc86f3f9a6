"""What is shown of an entry is what it says, and nothing that a terminal would act on."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from tiny_zoo import about, filled, forge, tensors

from nnunet_iac.cli.main import main
from nnunet_iac.zoo import weights_files
from nnunet_iac.zoo.entry import Score
from nnunet_iac.zoo.listing import entries_table, entry_text, verification_text
from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.verification import verify

EVIL = "a\x1b[31m\r\nb\u202e\x07"
SHOWN = json.dumps(EVIL)


def evil(folder: Path) -> Zoo:
    """A zoo with an entry whose texts are hostile wherever a stranger may choose them."""
    zoo = Zoo.create(folder)
    hostile = {
        "labels": (EVIL, "RV"),
        "channels": (EVIL, ""),
        "plans": {"plans_name": EVIL},
        "provenance": {EVIL: EVIL, "list": [EVIL]},
        "facts": {EVIL: EVIL, "object": {EVIL: EVIL}},
        "scores": (Score(EVIL, 0.5, EVIL, EVIL), Score("Dice", 0.75, "4 cases")),
    }
    entry = zoo.add(about(**hostile), tensors()).entry
    connection = sqlite3.connect(folder / FILE)
    connection.execute("UPDATE entries SET created = ?", (EVIL,))
    connection.commit()
    connection.close()
    forge(folder, entry.id, created=EVIL)
    return zoo


def is_plain(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_an_entry_with_such_text_is_listed_and_shown_without_it(tmp_path: Path) -> None:
    (entry,) = evil(tmp_path).entries()

    table, text = entries_table([entry]), entry_text(entry)

    assert is_plain(table) and len(table.split("\n")) == 2 and SHOWN in table
    assert is_plain(text) and text.count(SHOWN) >= 10
    lines = dict(line.split("  ", 1) for line in text.split("\n") if "  " in line)
    assert lines["created"].strip() == SHOWN and lines["channels"].strip() == f"{SHOWN}, ?"


def test_text_that_can_be_printed_is_shown_as_it_is(tmp_path: Path) -> None:
    zoo = Zoo.create(tmp_path)
    entry = zoo.add(about(labels=("Hölle", "左"), facts={"a": "b c"}), tensors()).entry

    assert "Hölle, 左\n" in entry_text(entry) and "facts: a" in entry_text(entry) and "b c\n" in entry_text(entry)


def test_messages_about_such_entries_and_files_are_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = evil(tmp_path)
    (entry,) = zoo.entries()
    with pytest.raises(ValueError, match="got tiny in 2D for 2") as caught:
        entry.check_fit(dimensions=3, channels=1)
    assert is_plain(str(caught.value))

    (tmp_path / f".a{chr(27)}[31m.tmp").touch()
    header = b'{"a\x1b[31m":1}'
    weights = tmp_path / weights_files.weights_name(entry.weights)
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    assert is_plain(verification_text(verify(zoo)))
    with pytest.raises(ValueError, match="expected a safetensors file") as caught:
        weights_files.from_bytes(weights.read_bytes())
    assert is_plain(str(caught.value))

    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET name = 'x' || char(27) || '[31m', sql = 'CREATE x'")
    connection.commit()
    connection.close()
    assert main(["zoo", "list", "--zoo", str(tmp_path)]) == 2
    assert is_plain(capsys.readouterr().err)


@pytest.mark.parametrize(
    "score",
    [
        {"metric": 5, "value": 0.5, "measured_on": "x"},
        {"metric": "Dice", "value": 0.5, "measured_on": ["x"]},
        {"metric": "Dice", "value": 0.5, "measured_on": "x", "label": 1},
        {"metric": "Dice", "value": "0.5", "measured_on": "x"},
        {"metric": "Dice", "value": 0.5, "measured_on": "x", "x\x1b[31m": 1},
    ],
)
def test_a_score_of_other_types_is_a_damaged_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], score: dict[str, object]
) -> None:
    zoo = filled(tmp_path)
    entry = zoo.entries()[0]
    forge(tmp_path, entry.id, scores=[score])

    assert [(f.what, f.where) for f in verify(zoo).findings] == [("damaged entry", entry.id)]
    assert main(["zoo", "show", entry.id, "--zoo", str(tmp_path)]) == 2
    assert is_plain(error := capsys.readouterr().err) and "scores" in error
