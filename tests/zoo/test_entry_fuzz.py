"""Any JSON is an entry, any bytes are weights and any file is an index of a zoo, or they are refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_zoo
from fuzzing import few, files, jsons, takes_or_says
from hypothesis import example, given

from nnunet_iac.zoo.configuration import SubnetConfiguration
from nnunet_iac.zoo.entries import COLUMNS, _digest, parse
from nnunet_iac.zoo.entry import Entry, entry_of
from nnunet_iac.zoo.schema import FILE
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.weights_files import from_bytes, to_bytes

VALID = entry_of(tiny_zoo.about(), weights="0" * 64, weights_bytes=1, parameters=1).to_dict()
SUBNETWORK = SubnetConfiguration((1, 2), (1,), (0.5, 1.0)).to_dict()


@few
@given(jsons(VALID))
@example({**VALID, "channels": 3})
@example({**VALID, "patch_size": None})
@example({**VALID, "name": "a\x1b[31mb"})
def test_any_json(record: Any) -> None:
    takes_or_says(Entry.from_dict, record, named=("entry",))


@few
@given(jsons(VALID))
def test_any_row_with_a_digest_that_fits(record: Any) -> None:
    import json

    text = json.dumps(record)
    row = ["x"] * len(COLUMNS)
    row[COLUMNS.index("record")], row[COLUMNS.index("digest")] = text, _digest(text)

    takes_or_says(parse, row, named=("entry x",))


@few
@given(jsons(SUBNETWORK))
def test_any_configuration_of_a_subnetwork(record: Any) -> None:
    takes_or_says(SubnetConfiguration.from_dict, record, named=("configuration", "depths", "widths"))


@few
@given(files(to_bytes(tiny_zoo.tensors())))
def test_any_bytes_of_weights(content: bytes) -> None:
    takes_or_says(from_bytes, content, named=("weights",))


def test_any_bytes_of_an_index(tmp_path: Path) -> None:
    zoo = tiny_zoo.filled(tmp_path)
    valid = (tmp_path / FILE).read_bytes()

    @few
    @given(files(valid))
    def check(content: bytes) -> None:
        (tmp_path / FILE).write_bytes(content)
        takes_or_says(Zoo(zoo.place.folder).entries, named=("zoo",))

    check()
