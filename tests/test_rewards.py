"""Rewards: scalarisation by hand, helpfulness by how far an answer came, pairs and selection along a direction."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeoffs.inference.engine import Completion, batches
from tradeoffs.preferences import sampling
from tradeoffs.preferences.rewards import Reward, code_helpfulness, direction, parses, scalarise, verbosity, weigh
from tradeoffs.preferences.sampling import Rated, Response, best, pairs, sample
from tradeoffs.records import Verdict, append_jsonl, read_rows
from tradeoffs.tasks import code_messages, direction_weights, general_messages
from tradeoffs.tasks.examples import Example

# The worked example of DPA's algorithm figure (arXiv 2402.18571): response, helpfulness, verbosity, weighted reward as printed.
PRINTED = {"D": (41.0, 43.0, 8.2), "E": (57.0, 51.0, 15.0), "F": (69.0, 62.0, 18.0)}
points = st.floats(0, 100).map(lambda x: round(x, 3))


def rated(key: int, number: int, helpfulness: float, verbosity: float = 50.0, text: str | None = None) -> Rated:
    text = f"{key}/{number}" if text is None else text
    return Rated(key=key, sample=number, text=text, tokens=1, helpfulness=helpfulness, verbosity=verbosity)


def test_scalarisation_is_the_weighted_sum() -> None:
    assert scalarise(Reward(40.0, 10.0), (0.6, 0.8)) == pytest.approx(32.0)
    assert scalarise(Reward(40.0, 10.0), (0.6, -0.8)) == pytest.approx(16.0)
    assert scalarise(Reward(40.0, 10.0), direction(0.0)) == pytest.approx(40.0)


@pytest.mark.parametrize(("name", "plus", "minus"), [("D", 58.6, 7.0), ("E", 76.2, 15.0), ("F", 92.4, 18.0)])
def test_the_papers_example_by_hand_with_either_sign(name: str, plus: float, minus: float) -> None:
    reward = Reward(*PRINTED[name][:2])
    assert scalarise(reward, (0.8, 0.6)) == pytest.approx(plus)
    assert scalarise(reward, (0.8, -0.6)) == pytest.approx(minus)


def test_the_papers_printed_rewards_disagree_with_its_printed_weights() -> None:
    # The figure prints v = (0.8, +0.6); its numbers for E and F follow from (0.8, -0.6), its number for D from neither.
    fits = {
        sign: {
            n for n, (h, v, out) in PRINTED.items() if scalarise(Reward(h, v), (0.8, sign * 0.6)) == pytest.approx(out)
        }
        for sign in (1, -1)
    }
    assert fits == {1: set(), -1: {"E", "F"}}
    # The figure selects E as the highest; with either sign, and by its own printed numbers, that is F.
    for sign in (1, -1):
        assert max(PRINTED, key=lambda n: scalarise(Reward(*PRINTED[n][:2]), (0.8, sign * 0.6))) == "F"
    assert max(PRINTED, key=lambda n: PRINTED[n][2]) == "F"


@pytest.mark.parametrize("vector", [(1.0, 1.0), (0.0, 0.0), (0.8, 0.61), (8.0, 6.0), (math.nan, 0.0)])
def test_a_vector_that_is_no_unit_vector_is_refused(vector: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"^direction: got \(.*\) of norm .*; accepts a unit vector"):
        scalarise(Reward(1.0, 1.0), vector)


@settings(deadline=None)
@given(
    st.lists(st.tuples(points, points), min_size=1, max_size=8),
    st.floats(-90, 90),
    st.sampled_from([0.25, 0.5, 2.0, 8.0]),
)
def test_the_best_response_does_not_depend_on_the_rewards_scale(
    found: list[tuple[float, float]], angle: float, factor: float
) -> None:
    plain = [scalarise(Reward(h, v), direction(angle)) for h, v in found]
    scaled = [scalarise(Reward(h * factor, v * factor), direction(angle)) for h, v in found]
    assert plain.index(max(plain)) == scaled.index(max(scaled))


@settings(deadline=None)
@given(st.floats(-180, 180))
def test_directions_are_unit_vectors(angle: float) -> None:
    assert math.hypot(*direction(angle)) == pytest.approx(1.0)
    assert math.degrees(math.atan2(direction(angle)[1], direction(angle)[0])) == pytest.approx(angle, abs=1e-6)


@pytest.mark.parametrize(
    ("tokens", "need", "value"), [(0, 5, 0), (5, 5, 50), (10, 5, 200 / 3), (15, 5, 75), (1, 3, 25)]
)
def test_verbosity_is_length_relative_to_need(tokens: int, need: int, value: float) -> None:
    assert verbosity(tokens, need) == pytest.approx(value)


def test_verbosity_without_need_is_refused() -> None:
    with pytest.raises(ValueError, match="^need: got 0; accepts a reference of at least one token"):
        verbosity(3, 0)


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("x = 1", True),
        ("    y = a + 1\n    return y", True),
        ("for i in a:", False),
        ("x = (", False),
        ("", False),
        ("  \n", False),
        ("x = '\x00'", False),
    ],
)
def test_python_is_told_from_what_is_none(code: str, answer: bool) -> None:
    assert parses(code) is answer


LADDER = [
    ("x = (", "failed", "failed: '(' was never closed", 0),
    ("x = 1", "failed", "failed: name 'a' is not defined", 15),
    ("x = 1", "timed_out", "timed out after 10 s", 15),
    ("x = 1", "crashed", "exit code 1 without a verdict", 15),
    ("x = 1", "failed", "failed: type", 30),
    ("x = 1", "failed", "failed: shape", 45),
    ("x = 1", "failed", "failed: value", 60),
    ("x = 1", "passed", "passed", 100),
]


@pytest.mark.parametrize(("code", "status", "detail", "value"), LADDER, ids=[detail for _, _, detail, _ in LADDER])
def test_helpfulness_of_code_is_how_far_it_came(code: str, status: str, detail: str, value: float) -> None:
    assert code_helpfulness(code, Verdict(problem_id=1, status=status, detail=detail)) == value


def test_a_crash_that_speaks_of_values_is_no_wrong_value() -> None:
    assert code_helpfulness("x = 1", Verdict(problem_id=1, status="crashed", detail="value")) == 15


def paired(rows: list[Rated], gap: float = 5.0) -> list[tuple[Rated, Rated]]:
    return pairs(rows, {(row.key, row.sample): row.helpfulness for row in rows}, gap)


def test_pairs_are_each_prompts_best_and_worst() -> None:
    found = paired(
        [rated(1, 0, 30), rated(1, 1, 60), rated(1, 2, 45), rated(2, 0, 100), rated(2, 1, 0), rated(2, 2, 15)]
    )
    assert [(good.text, bad.text) for good, bad in found] == [("1/1", "1/0"), ("2/0", "2/1")]


def test_near_ties_and_equal_texts_are_no_pair() -> None:
    assert paired([rated(1, 0, 30.0), rated(1, 1, 34.9)]) == []
    assert len(paired([rated(1, 0, 30.0), rated(1, 1, 35.0)])) == 1
    assert len(paired([rated(1, 0, 30.0), rated(1, 1, 34.9)], gap=4.0)) == 1
    assert paired([rated(1, 0, 30.0, text="same"), rated(1, 1, 60.0, text="same")]) == []
    assert paired([rated(1, 0, 30.0)]) == []


def test_ties_are_broken_by_the_first_sample() -> None:
    found = paired(
        [rated(2, 0, 15), rated(2, 1, 15), rated(2, 2, 60), rated(2, 3, 60), rated(1, 0, 0), rated(1, 1, 45)]
    )
    assert [(good.text, bad.text) for good, bad in found] == [("2/2", "2/0"), ("1/1", "1/0")]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), points, points), min_size=1, max_size=16), st.floats(-90, 90))
def test_dpas_selection_along_one_direction_is_best_of_n(found: list[tuple[int, float, float]], angle: float) -> None:
    rows = [rated(key, i, h, v) for i, (key, h, v) in enumerate(found)]
    keys = {row.key for row in rows}
    kept = best(rows, {(row.key, row.sample): scalarise(row.reward, direction(angle)) for row in rows})
    assert sorted(row.key for row in kept) == sorted(keys)
    along = {
        row.text: math.cos(math.radians(angle)) * row.helpfulness + math.sin(math.radians(angle)) * row.verbosity
        for row in rows
    }
    for row in kept:
        assert along[row.text] == pytest.approx(max(along[other.text] for other in rows if other.key == row.key))


def test_each_prompt_is_selected_along_its_own_direction_ties_by_the_first_sample() -> None:
    rows = [row for key in (1, 2) for row in (rated(key, 0, 60, 90), rated(key, 1, 60, 10), rated(key, 2, 60, 10))]
    own = {1: direction(-45.0), 2: direction(45.0)}
    kept = best(rows, {(row.key, row.sample): scalarise(row.reward, own[row.key]) for row in rows})
    assert [row.text for row in kept] == ["1/1", "2/0"]


@given(
    st.lists(st.tuples(points, points), min_size=2, max_size=8), st.floats(-9, 9), st.floats(-9, 9), st.integers(1, 8)
)
def test_what_linear_scalarisation_keeps_does_not_depend_on_the_length_of_the_weights(
    found: list[tuple[float, float]], v1: float, v2: float, exponent: int
) -> None:
    rows = [rated(1, i, h, v) for i, (h, v) in enumerate(found)]
    factor = 2.0**exponent  # a power of two rounds nothing

    def kept(weights: tuple[float, float]) -> list[str]:
        return [row.text for row in best(rows, {(r.key, r.sample): weigh(r.reward, weights) for r in rows})]

    assert kept((v1, v2)) == kept((factor * v1, factor * v2))


@pytest.mark.parametrize(
    ("angle", "weights"), [(0, (100, 0)), (-15, (97, -26)), (45, (71, 71)), (-45, (71, -71)), (90, (0, 100))]
)
def test_a_direction_is_two_integers_in_the_system_prompt(angle: float, weights: tuple[int, int]) -> None:
    assert direction_weights(angle) == weights
    for messages in (code_messages("Add.", angle), general_messages("Hi", angle)):
        assert messages[0]["content"].endswith(f"helpfulness*{weights[0]} + verbosity*{weights[1]}.")
        assert messages[1]["role"] == "user"


def test_without_a_direction_the_system_prompt_names_none() -> None:
    assert "verbosity" not in code_messages("Add.")[0]["content"] + general_messages("Hi")[0]["content"]


def test_a_batch_that_a_kill_cut_short_is_sampled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def decode(policy: object, prompts: list, *, batch_size: int, skip: frozenset[int], **_: object):
        for number, batch in enumerate(batches(prompts, batch_size)):
            if number not in skip:
                decoded.append(number)
                yield [Completion(p.key, "x", len(p.ids), 1, 1, "stop", number, 1.0, len(batch)) for p in batch]

    monkeypatch.setattr(sampling, "decode", decode)
    tokenizer = SimpleNamespace(apply_chat_template=lambda messages, **_: list(range(len(messages[1]["content"]))))
    examples = [Example(key, "general", "x" * (key + 1), "y", None) for key in range(3)]
    asked = dict(samples=2, temperature=1.0, max_new_tokens=4, seed=0, batch_size=2)
    whole = sample(SimpleNamespace(tokenizer=tokenizer), examples, [None] * 3, tmp_path, **asked)
    assert decoded == [0, 1, 2]
    path = tmp_path / "responses.jsonl"
    rows = read_rows(path, Response)
    path.unlink()
    append_jsonl(path, rows[:3])
    again = sample(SimpleNamespace(tokenizer=tokenizer), examples, [None] * 3, tmp_path, **asked)
    assert decoded == [0, 1, 2, 1, 2]
    assert again == whole == sorted(read_rows(path, Response), key=lambda row: (row.key, row.sample))
