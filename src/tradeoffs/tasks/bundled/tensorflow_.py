"""Evaluation problems for TensorFlow: reductions, argmax, masks and segment sums on small eager tensors.

Each entry pairs a problem with answers that look right and must fail, so that a test can show that the grading
program tells them apart. Tier 1 problems are one common call; tier 2 combines two; tier 3 needs an edge case
handled without a loop.
"""

from __future__ import annotations

from tradeoffs.tasks.format import Problem, problem

_RAIN = "rain = tf.constant([[3.0, 0.5, 7.0], [1.0, 2.5, 4.0]])"
_RAIN_CASES = (
    "rain = tf.constant([[10.0, -2.0], [4.0, 8.0], [1.0, 0.0], [5.0, 6.0]])",
    "rain = tf.constant([[2.0, 9.0, 1.5, 6.0]])",
)

ENTRIES: list[tuple[Problem, tuple[str, ...]]] = [
    (
        problem(
            problem_id=500,
            number=0,
            library="Tensorflow",
            question="""
                The tensor `rain` has one row per week and one column per station. Compute the mean of each
                column.
            """,
            imports="import tensorflow as tf",
            given=_RAIN,
            names="rain",
            cases=_RAIN_CASES,
            reference="result = tf.reduce_mean(rain, axis=0)",
            compare="tensorflow",
            tier=1,
        ),
        (
            "result = tf.reduce_mean(rain)",
            "result = tf.reduce_mean(rain, axis=1)",
            "result = tf.reduce_sum(rain, axis=0)",
        ),
    ),
    (
        problem(
            problem_id=501,
            number=1,
            library="Tensorflow",
            question="""
                I keep rainfall figures in a 2-D tensor called `rain`: weeks go down, weather stations go
                across. What does every station get in an average week? I expect a 1-D tensor with one
                number per station.
            """,
            imports="import tensorflow as tf",
            given=_RAIN,
            names="rain",
            cases=_RAIN_CASES,
            reference="result = tf.reduce_mean(rain, axis=0)",
            compare="tensorflow",
            perturbation="Surface",
            origin=0,
            tier=1,
        ),
        ("result = tf.reduce_mean(rain, axis=1)", "result = tf.reduce_mean(rain, axis=0, keepdims=True)"),
    ),
    (
        problem(
            problem_id=502,
            number=2,
            library="Tensorflow",
            question="""
                The tensor `rain` has one row per week and one column per station. Find the maximum of each
                row.
            """,
            imports="import tensorflow as tf",
            given=_RAIN,
            names="rain",
            cases=_RAIN_CASES,
            reference="result = tf.reduce_max(rain, axis=1)",
            compare="tensorflow",
            perturbation="Semantic",
            origin=0,
            tier=1,
        ),
        (
            "result = tf.reduce_max(rain, axis=0)",
            "result = tf.argmax(rain, axis=1)",
            "result = tf.reduce_mean(rain, axis=1)",
        ),
    ),
    (
        problem(
            problem_id=503,
            number=3,
            library="Tensorflow",
            question="""
                Every row of `votes` belongs to one photo and every column to one label. Get the column
                index of the largest value in each row.
            """,
            imports="import tensorflow as tf",
            given="votes = tf.constant([[0.2, 1.4, 0.3], [2.0, -1.0, 0.5], [0.1, 0.0, 0.9], [4.0, 5.0, 3.0]])",
            names="votes",
            cases=(
                "votes = tf.constant([[7.0, 3.0, 9.0, 1.0], [-4.0, -2.0, -3.0, -8.0]])",
                "votes = tf.constant([[1.0, 0.0], [0.0, 1.0], [6.0, 2.0]])",
            ),
            reference="result = tf.argmax(votes, axis=1)",
            compare="tensorflow",
            tier=1,
        ),
        ("result = tf.argmax(votes)", "result = tf.reduce_max(votes, axis=1)", "result = tf.argmin(votes, axis=1)"),
    ),
    (
        problem(
            problem_id=504,
            number=4,
            library="Tensorflow",
            question="""
                Every row of `votes` belongs to one photo and every column to one label. Not all labels may
                be given to all photos: the boolean tensor `allowed` has the same shape and says which may.
                For each photo I need the index of its best allowed label, or -1 if it has no allowed label
                at all. Votes can be negative. The result should be an integer tensor with one entry per
                photo. Please do not loop in Python; the real data has millions of rows.
            """,
            imports="import tensorflow as tf",
            given="""
votes = tf.constant([[0.2, 1.4, 0.3], [-2.0, -1.0, -0.5], [0.1, 0.0, 0.9]])
allowed = tf.constant([[True, False, True], [True, True, False], [False, False, False]])
""",
            names="votes, allowed",
            cases=(
                """
votes = tf.constant([[-5.0, -6.0], [3.0, 8.0]])
allowed = tf.constant([[False, True], [True, False]])
""",
                """
votes = tf.constant([[1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -3.0, -4.0]])
allowed = tf.constant([[False, False, False, False], [True, True, True, True]])
""",
            ),
            reference="""
best = tf.argmax(tf.where(allowed, votes, votes.dtype.min), axis=1)
result = tf.where(tf.reduce_any(allowed, axis=1), best, tf.constant(-1, dtype=best.dtype))
""",
            compare="tensorflow",
            perturbation="Difficult-Rewrite",
            origin=3,
            forbidden=("for", "while"),
            tier=3,
        ),
        (
            "result = tf.argmax(tf.where(allowed, votes, votes.dtype.min), axis=1)",
            # A forbidden label counts as 0 here and beats every negative vote.
            "best = tf.argmax(votes * tf.cast(allowed, votes.dtype), axis=1)\n"
            "result = tf.where(tf.reduce_any(allowed, axis=1), best, tf.constant(-1, dtype=best.dtype))",
            # Right values, but with a loop: only `test_string` rejects it.
            "rows = zip(votes.numpy().tolist(), allowed.numpy().tolist())\n"
            "result = tf.constant([max((v, j) for j, (v, ok) in enumerate(zip(vs, oks)) if ok)[1] if any(oks) else -1 "
            "for vs, oks in rows])",
        ),
    ),
    (
        problem(
            problem_id=505,
            number=5,
            library="Tensorflow",
            question="""
                `spent` lists amounts of money and `person` says, position by position, who paid: an integer
                id counted from 0. The ids come in any order. Complete the function so that it returns a
                tensor whose entry i is the total that person i paid; its length is the largest id plus one.
            """,
            imports="import tensorflow as tf",
            given="""
spent = tf.constant([4.0, 2.5, 10.0, 1.0, 3.0])
person = tf.constant([1, 0, 1, 3, 0])
""",
            names="spent, person",
            cases=(
                "spent = tf.constant([1.0, 2.0, 4.0, 8.0])\nperson = tf.constant([2, 2, 0, 1])",
                "spent = tf.constant([7.5, 0.5, 6.0])\nperson = tf.constant([4, 0, 4])",
            ),
            reference="return tf.math.unsorted_segment_sum(spent, person, tf.reduce_max(person) + 1)",
            compare="tensorflow",
            result="totals",
            function="def total_by_person(spent, person):",
            tier=2,
        ),
        (
            "    return tf.math.segment_sum(spent, person)",
            "    return tf.math.unsorted_segment_mean(spent, person, tf.reduce_max(person) + 1)",
            "    return tf.math.unsorted_segment_sum(spent, person, len(set(person.numpy().tolist())))",
        ),
    ),
    (
        problem(
            problem_id=506,
            number=6,
            library="Tensorflow",
            question="""
                Put the columns of `right` next to the columns of `left` so that each row becomes longer,
                then keep only those rows for which the boolean vector `keep` is True.
            """,
            imports="import tensorflow as tf",
            given="""
left = tf.constant([[1, 2], [3, 4], [5, 6]])
right = tf.constant([[70, 80], [90, 10], [20, 30]])
keep = tf.constant([True, False, True])
""",
            names="left, right, keep",
            cases=(
                """
left = tf.constant([[8], [6], [4], [2]])
right = tf.constant([[1, 1], [2, 3], [5, 8], [9, 7]])
keep = tf.constant([False, True, True, True])
""",
                """
left = tf.constant([[0, 5], [5, 0]])
right = tf.constant([[11], [12]])
keep = tf.constant([False, False])
""",
            ),
            reference="result = tf.boolean_mask(tf.concat([left, right], axis=1), keep)",
            compare="tensorflow",
            tier=2,
        ),
        (
            "result = tf.concat([left, right], axis=1)",
            "result = tf.boolean_mask(tf.concat([left, right], axis=1), ~keep)",
            "result = tf.concat([tf.boolean_mask(left, keep), tf.boolean_mask(right, keep)], axis=0)",
        ),
    ),
]
