"""What the other data sets offer to a held-out one: the truth of each offer, and how good the order is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from planted_world import SPACE, planted_task, planted_tasks

from nnunet_iac.metaspace import retrieval_evaluation
from nnunet_iac.metaspace.ranking import Ranked
from nnunet_iac.metaspace.retrieval_evaluation import evaluate_retrieval, sources_of
from nnunet_iac.metaspace.retrieval_truth import NEAREST, SAME, counterparts
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.task import Candidates, Task
from nnunet_iac.metaspace.topology import topology
from nnunet_iac.zoo.elastic_space import ElasticSpace

SHALLOW = ElasticSpace((32, 64, 128), (2, 2, 3), (2, 2), residual=False)


def shallow_task(number: int, space: ElasticSpace = SHALLOW, count: int = 12) -> Task:
    """A planted data set whose plan has other stages; the first two candidates are the extremes."""
    task = planted_task(number, candidates=count)
    chosen = (space.largest, space.smallest, *(space.random(seed=f"other {n}") for n in range(count - 2)))
    rows = np.stack([topology(space, c, 1e5 + n, 2) for n, c in enumerate(chosen)])
    known = task.candidates
    return replace(
        task, candidates=Candidates(rows, known.responses, known.dice, known.parameters, chosen, space=space)
    )


def offers(task: Task) -> list[Ranked]:
    return [Ranked(task, index, 0.0, 0.5) for index in range(len(task.candidates))]


def test_where_plans_agree_the_truth_is_the_own_subnetwork_of_the_same_configuration() -> None:
    target, other = planted_tasks(2)

    own = counterparts(target, offers(other))

    assert own.is_same.all() and not own.distances.any() and target.candidates.configurations[7] != SPACE.largest
    assert [target.candidates.configurations[p] for p in own.places] == list(other.candidates.configurations)


def test_where_plans_differ_only_what_a_retrieval_makes_of_it_is_the_same() -> None:
    target, other = planted_task(0, candidates=12), shallow_task(1)
    first = replace(target.candidates, configurations=(SPACE.largest, *target.candidates.configurations[1:]))
    rows = np.vstack([topology(SPACE, SPACE.largest, 1e6, 2), first.topology[1:]])
    target = replace(target, candidates=replace(first, topology=rows))

    own = counterparts(target, offers(other))

    assert own.is_same[0] and own.places[0] == 0, "the largest, with the deeper stage of the target's plan"
    assert not own.is_same[2:].any() and (own.distances[2:] > 0).all()
    back = counterparts(other, offers(target))
    assert back.is_same[0] and back.places[0] == 0, "and the other way, without that stage"


def test_candidates_of_an_unknown_space_are_an_error() -> None:
    task = planted_tasks(2)[0]

    with pytest.raises(ValueError, match="expected candidates with the space that they are of"):
        counterparts(task, offers(replace(task, candidates=replace(task.candidates, space=None))))


def test_the_held_out_data_set_is_never_seen_and_a_planted_law_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []
    fit = retrieval_evaluation.fit
    monkeypatch.setattr(
        retrieval_evaluation,
        "fit",
        lambda sources, s: (fitted.append([t.dataset for t in sources]), fit(sources, s))[1],
    )
    tasks = [planted_task(number, candidates=24, images=24) for number in range(5)]

    found = evaluate_retrieval(tasks, FitSettings(steps=30))

    assert [sorted(set(t.dataset for t in tasks) - set(seen)) for seen in fitted] == [[t.dataset] for t in tasks]
    ours = found.mean(SAME, "meta-space")
    assert ours.spearman is not None and ours.spearman > 0.2
    blind = evaluate_retrieval(tasks, FitSettings(steps=30, remoteness=0.0)).mean(SAME, "meta-space")
    assert blind.spearman is not None and blind.spearman > 0.5, "where no weights count, only the cosine helps"
    nearest = found.mean(SAME, "nearest").spearman
    assert nearest is not None and nearest > 0.5, "the law: similar images want similar widths"
    assert ours.regret[5] < found.mean(SAME, "random choice").regret[5]
    assert all((one.pairs, one.offered) == (96, 96) for one in found.offers)
    assert found.mean(NEAREST, "meta-space") == ours, "all are the same here"


def test_weights_that_have_seen_the_held_out_data_set_offer_nothing_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third, last = (planted_task(number, candidates=12, images=8) for number in range(4))
    last = replace(last, candidates=replace(last.candidates, ancestors=(second.dataset, first.dataset)))
    tasks = [first, replace(first, name="another fold"), second, third, last]
    fitted = []
    fit = retrieval_evaluation.fit
    monkeypatch.setattr(retrieval_evaluation, "fit", lambda given, s: (fitted.append(list(given)), fit(given, s))[1])

    found = evaluate_retrieval(tasks, FitSettings(steps=2))

    allowed = [[second, third], [second, third], [*tasks[:2], third], [*tasks[:3], last], tasks[:4]]
    assert fitted == allowed == [sources_of(task, tasks) for task in tasks]
    assert {(one.task, one.offered) for one in found.offers} == {
        (task.name, 12 * len(given)) for task, given in zip(tasks, allowed, strict=True)
    }


def test_the_truth_of_the_held_out_data_set_moves_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    score = retrieval_evaluation.ranking_scores
    monkeypatch.setattr(
        retrieval_evaluation, "ranking_scores", lambda v, dice: (seen.append(list(v)), score(v, dice))[1]
    )
    tasks = [planted_task(number, candidates=12, images=8) for number in range(3)]
    known = tasks[0].candidates
    evaluate_retrieval(tasks, FitSettings(steps=2))
    orders = seen[:10]  # of the first task: five methods, two truths
    seen.clear()

    evaluate_retrieval(
        [replace(tasks[0], candidates=replace(known, dice=1 - known.dice)), *tasks[1:]], FitSettings(steps=2)
    )

    assert seen[:10] == orders and seen[10:] != orders


def test_what_cannot_be_scored_is_said_in_words() -> None:
    tasks = [*(planted_task(number, candidates=12, images=8) for number in range(2)), shallow_task(2)]
    residual = ElasticSpace((32, 64, 128, 128), (2, 2, 3, 3), (2, 2, 2), residual=True, fractions=(0.25, 0.5, 1.0))

    found = evaluate_retrieval([*tasks, shallow_task(3, residual)], FitSettings(steps=2))

    text = found.markdown(each=True)
    assert "Dataset004_Planted 2d: fewer than 2 other data sets have its kind of network and weights that" in text
    assert "Dataset003_Planted 2d: no order can be scored by the same configuration" in text
    lines = text.splitlines()
    assert lines[0].startswith("| held out | truth | pairs | order by | Spearman |")
    assert any(line.startswith("| mean of 2 | same | 24 of 48 | meta-space |") for line in lines)
    assert any(line.startswith("| Dataset003_Planted 2d | nearest | 24 of 24 | random choice |") for line in lines)
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {one["truth"] for one in content["offers"]} == {SAME, NEAREST} and content["remarks"] == list(found.remarks)
