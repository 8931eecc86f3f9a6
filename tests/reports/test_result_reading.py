from __future__ import annotations

import json

import pytest

from nnunet_iac.reports.result import read_result


@pytest.fixture
def stored(results):
    results.with_search(epochs=10)
    return results.fold() / "search_result.json"


def changed(path, **changes):
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in record.items() if value != "drop"}))
    return path


def test_settings_come_with_dotted_keys_and_tau_is_the_one_in_effect(stored):
    result = read_result(stored)
    assert result.settings["search.epochs"] == 200
    assert (result.settings["search.tau"], result.tau) == (None, 0.002)


def test_tau_of_the_settings_counts_where_the_file_names_none(stored):
    path = changed(stored, tau="drop", settings={"search": {"tau": 0.01}})
    assert read_result(path).tau == 0.01


def test_cases_are_counted(stored):
    result = read_result(stored)
    assert (result.weight_cases, result.architecture_cases) == (3, 2)


def test_what_the_schema_does_not_ask_for_may_be_absent(stored):
    result = read_result(changed(stored, tau="drop", weight_cases="drop", architecture_cases="drop", patients="drop"))
    assert (result.tau, result.weight_cases, result.patients) == (None, None, None)


@pytest.mark.parametrize(
    "changes", [{"schema": 7}, {"status": "perhaps"}, {"genotype": {"schema": 9}}, {"epochs": "many"}, {"host": "drop"}]
)
def test_a_result_of_another_form_is_refused_with_its_path(stored, changes):
    with pytest.raises(ValueError, match=r"search_result\.json"):
        read_result(changed(stored, **changes))


def test_half_a_file_is_refused_with_a_remedy(stored):
    stored.write_text(stored.read_text()[:50])
    with pytest.raises(ValueError, match="try again in a moment"):
        read_result(stored)
