"""DS-1000's simplified format, written from its parts.

A problem is a prompt that stops where the solution begins, a reference solution, metadata, and a *code context*: a program that
defines ``test_execution(solution)`` and, for some problems, ``test_string(solution)``. Grading executes the program in a fresh
interpreter and calls both; an exception means that the answer failed. This module writes such programs from what an author thinks
in (given data, test cases, a reference, how to compare), so that the bundled evaluation set and the training tasks cannot drift
apart in format. A failed comparison says how far the answer came (``type``, ``shape`` or ``value``), which training uses to grade
partial success.

Source: the data file of DS-1000, arXiv 2211.11501, and its README (format only; every text here is this project's own).
"""

from __future__ import annotations

import textwrap
from typing import Any, Literal, get_args

Problem = dict[str, Any]
Library = Literal["Pandas", "Numpy", "Matplotlib", "Sklearn", "Scipy", "Tensorflow", "Pytorch"]
Perturbation = Literal["Origin", "Surface", "Semantic", "Difficult-Rewrite"]

LIBRARIES: tuple[str, ...] = get_args(Library)
PERTURBATIONS: tuple[str, ...] = get_args(Perturbation)

# Bodies of `exec_test(result, ans)`. Each asserts in the order type, shape, value, and says which one failed.
COMPARE: dict[str, str] = {
    "array": """
import numpy as _np
got, want = _np.asarray(result), _np.asarray(ans)
assert got.dtype.kind != "O" or want.dtype.kind == "O", "type"
assert got.shape == want.shape, "shape"
if want.dtype.kind in "fc":
    assert got.dtype.kind in "fciub", "type"
    assert _np.allclose(got, want, rtol=1e-5, atol=1e-8, equal_nan=True), "value"
else:
    assert _np.array_equal(got, want), "value"
""",
    "scalar": """
import numpy as _np
assert _np.ndim(result) == 0, "shape"
assert isinstance(result, (bool, int, float, complex, _np.generic, _np.ndarray)), "type"
assert _np.allclose(result, ans, rtol=1e-5, atol=1e-8, equal_nan=True), "value"
""",
    "frame": """
import pandas as _pd
assert isinstance(result, _pd.DataFrame), "type"
assert result.shape == ans.shape, "shape"
try:
    _pd.testing.assert_frame_equal(result, ans, check_dtype=False, check_names=False)
except AssertionError:
    raise AssertionError("value") from None
""",
    "series": """
import pandas as _pd
assert isinstance(result, _pd.Series), "type"
assert result.shape == ans.shape, "shape"
try:
    _pd.testing.assert_series_equal(result, ans, check_dtype=False, check_names=False)
except AssertionError:
    raise AssertionError("value") from None
""",
    "sequence": """
import numpy as _np
assert hasattr(result, "__len__") and not isinstance(result, (str, dict)), "type"
assert len(result) == len(ans), "shape"
assert _np.array_equal(_np.asarray(result), _np.asarray(ans)), "value"
""",
    "equal": """
assert type(result) is type(ans) or isinstance(result, type(ans)), "type"
assert result == ans, "value"
""",
    "sparse": """
import numpy as _np
import scipy.sparse as _sp
assert _sp.issparse(result), "type"
assert result.shape == ans.shape, "shape"
assert _np.allclose(result.toarray(), ans.toarray()), "value"
""",
    "torch": """
import torch as _torch
assert _torch.is_tensor(result), "type"
assert tuple(result.shape) == tuple(ans.shape), "shape"
try:
    _torch.testing.assert_close(result, ans, check_dtype=False)
except AssertionError:
    raise AssertionError("value") from None
""",
    "tensorflow": """
import numpy as _np
import tensorflow as _tf
assert _tf.is_tensor(result) or isinstance(result, _np.ndarray), "type"
got, want = _np.asarray(result), _np.asarray(ans)
assert got.shape == want.shape, "shape"
assert _np.allclose(got, want, rtol=1e-4, atol=1e-6) if want.dtype.kind in "fc" else _np.array_equal(got, want), "value"
""",
}

_CONTEXT = '''\
import copy
{imports}


def generate_test_case(test_case_id):
    def define_test_input(test_case_id):
{cases}
        return {names}

    def generate_ans(data):
        {names} = data
{reference}
        return {result}

    test_input = define_test_input(test_case_id)
    expected_result = generate_ans(copy.deepcopy(test_input))
    return test_input, expected_result


def exec_test(result, ans):
{compare}
    return 1


exec_context = r"""
{imports}
{names} = test_input
{insert}
result = {result}
"""


def test_execution(solution: str):
    code = exec_context.replace("[insert]", solution)
    for i in range({count}):
        test_input, expected_result = generate_test_case(i + 1)
        test_env = {{"test_input": test_input}}
        exec(code, test_env)
        assert exec_test(test_env["result"], expected_result)
'''

_TEST_STRING = """

def test_string(solution: str):
    import io
    import tokenize

    tokens = [t.string for t in tokenize.generate_tokens(io.StringIO(solution).readline)]
    for word in {required!r}:
        assert word in tokens, f"must use {{word}}"
    for word in {forbidden!r}:
        assert word not in tokens, f"must not use {{word}}"
"""

_PLOT_CONTEXT = '''\
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image


def skip_plt_cmds(line):
    return all(p not in line for p in ["plt.show()", "plt.clf()", "plt.close()", "savefig"])


def generate_test_case(test_case_id):
{script}
{reference}
    plt.savefig("ans.png", bbox_inches="tight")
    plt.close()
    return None, None


def exec_test(result, ans):
    code_img = np.array(Image.open("output.png"))
    oracle_img = np.array(Image.open("ans.png"))
    if code_img.shape == oracle_img.shape and np.allclose(code_img, oracle_img):
        return 1
    ax = plt.gca()
{checks}
    return 1


exec_context = r"""
{shown}
[insert]
plt.savefig('output.png', bbox_inches='tight')
result = None
"""


def test_execution(solution: str):
    solution = "\\n".join(filter(skip_plt_cmds, solution.split("\\n")))
    code = exec_context.replace("[insert]", solution)
    for i in range(1):
        test_input, expected_result = generate_test_case(i + 1)
        test_env = {{"test_input": test_input}}
        exec(code, test_env)
        assert exec_test(test_env["result"], expected_result)
'''


def _clean(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


def _indent(text: str, levels: int) -> str:
    return textwrap.indent(_clean(text), "    " * levels)


def _metadata(
    problem_id: int, number: int, library: str, perturbation: str, origin: int | None, count: int, extra: dict[str, Any]
) -> dict[str, Any]:
    if library not in LIBRARIES:
        raise ValueError(f"library: got {library!r}; accepts one of {', '.join(LIBRARIES)}")
    if perturbation not in PERTURBATIONS:
        raise ValueError(f"perturbation: got {perturbation!r}; accepts one of {', '.join(PERTURBATIONS)}")
    return {
        "problem_id": problem_id,
        "library_problem_id": number,
        "library": library,
        "test_case_cnt": count,
        "perturbation_type": perturbation,
        "perturbation_origin_id": number if origin is None else origin,
        **extra,
    }


def problem(
    *,
    problem_id: int,
    number: int,
    library: str,
    question: str,
    imports: str,
    given: str,
    names: str,
    reference: str,
    compare: str,
    cases: tuple[str, ...] = (),
    result: str = "result",
    function: str | None = None,
    perturbation: str = "Origin",
    origin: int | None = None,
    required: tuple[str, ...] = (),
    forbidden: tuple[str, ...] = (),
    **extra: Any,
) -> Problem:
    """Write one problem whose answer is a value in a variable.

    Args:
        problem_id: unique within its set.
        number: the problem's number within its library (`library_problem_id`).
        library: one of `LIBRARIES`.
        question: the text between "Problem:" and "A:".
        imports: import lines shown in the prompt and run before the answer.
        given: the data shown in the prompt; also the first test case.
        names: the variables that `given` defines, as written in an assignment: "a" or "a, t".
        reference: statements that set `result`; with `function`, the (unindented) body of that function, ending in `return`.
        compare: a key of `COMPARE`, or the body of a function of `result` and `ans` that asserts.
        cases: further test cases, each statements that define `names`; they must be able to tell a hard-coded answer.
        result: the variable that the answer must set.
        function: a signature such as "def f(a):" when the answer completes a function body; the function is called with
            `names` and the answer is then graded by its value, under the name in `result`.
        perturbation: one of `PERTURBATIONS`.
        origin: `number` of the problem that this one varies; None for an Origin.
        required, forbidden: tokens that the answer's source must or must not hold (`test_string`).
        **extra: further metadata (`tier`, `template`, `seed`).

    Raises:
        ValueError: unknown library or perturbation.
    """
    names = names if "," in names or names.endswith(",") else f"{names},"
    imports, given = _clean(imports), _clean(given)
    every = (given, *cases)
    branches = "\n".join(
        f"        {'if' if i == 1 else 'elif'} test_case_id == {i}:\n{_indent(case, 3)}"
        for i, case in enumerate(every, 1)
    )
    body = _clean(reference)
    if function is None:
        insert, answer = "[insert]", body
        tail = f"</code>\n{result} = ... # put solution in this variable\nBEGIN SOLUTION\n<code>\n"
        oracle = body
    else:
        name = function.removeprefix("def ").split("(")[0].strip()
        call = f"{result} = {name}({names.rstrip(',')})"
        insert, answer = f"{function}\n[insert]\n{call}", _indent(body, 1)
        tail = f"{function}\n    # return the solution in this function\n    # {call}\n    ### BEGIN SOLUTION\n"
        oracle = f"{function}\n{_indent(body, 1)}\n{call}"
    context = _CONTEXT.format(
        imports=imports,
        cases=branches,
        names=names,
        reference=_indent(oracle, 2),
        result=result,
        compare=_indent(COMPARE.get(compare, compare), 1),
        insert=insert,
        count=len(every),
    )
    if required or forbidden:
        context += _TEST_STRING.format(required=required, forbidden=forbidden)
    return {
        "prompt": f"Problem:\n{_clean(question)}\n\nA:\n<code>\n{imports}\n{given}\n{tail}",
        "reference_code": answer + "\n",
        "metadata": _metadata(problem_id, number, library, perturbation, origin, len(every), extra),
        "code_context": context,
    }


def plot_problem(
    *,
    problem_id: int,
    number: int,
    script: str,
    wish: str,
    reference: str,
    checks: str,
    perturbation: str = "Origin",
    origin: int | None = None,
    **extra: Any,
) -> Problem:
    """Write one Matplotlib problem: a script, a wish in a comment, and checks on the axes where the pictures differ.

    Args:
        problem_id, number, perturbation, origin, **extra: as in `problem`.
        script: imports, data and first drawing commands, as shown; must import `matplotlib.pyplot as plt`.
        wish: what the comment asks for (one or several lines, without "#").
        reference: the drawing commands that grant it.
        checks: asserts on `ax`, the current axes, that hold for any right answer.
    """
    shown = _clean(script)
    comment = "\n".join(f"# {line}" for line in _clean(wish).splitlines())
    context = _PLOT_CONTEXT.format(
        script=_indent(shown, 1), reference=_indent(reference, 1), checks=_indent(checks, 1), shown=shown
    )
    return {
        "prompt": f"{shown}\n\n{comment}\n# SOLUTION START\n",
        "reference_code": _clean(reference),
        "metadata": _metadata(problem_id, number, "Matplotlib", perturbation, origin, 1, extra),
        "code_context": context,
    }
