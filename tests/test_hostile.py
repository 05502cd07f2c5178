"""Answers that mean harm: none passes, none stops the grader, none leaves anything behind, at any isolation level.

Each attack is one sentence and one program. All attacks of a level are graded in one call, each followed by an honest
answer that also looks for traces of its neighbour, and by a wrong one.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tradeoffs.grading import Grader, Job, sandbox
from tradeoffs.grading.environment import describe
from tradeoffs.records import Verdict

LIMIT = 2.5
LEVELS: tuple[sandbox.Level, ...] = ("bubblewrap", "namespaces", "limits")
# Why the weakest level is spared an attack: it has no walls, or the attack would hit the machine instead of them.
NO_WALLS = "without walls an answer reads, writes and reaches what its user can"
DEEP = "the supervisor's own removal of the scratch recurses"
TOO_MUCH = "without walls the machine itself would pay"


class Attack(NamedTuple):
    """A program, the problem it answers, and why level `limits` is spared it (empty: it must hold there, too)."""

    code: str
    problem: str = "plain"
    spared: str = ""


FRAME = """
{imports}

def generate_test_case(number):
    {case}

def exec_test(result, ans):
    {check}
    return 1

exec_context = '''
{imports}
a = test_input
[insert]
{after}
'''

def test_execution(solution):
    code = exec_context.replace("[insert]", solution)
    for number in range(2):
        test_input, expected_result = generate_test_case(number + 1)
        test_env = {{"test_input": test_input}}
        exec(code, test_env)
        assert exec_test(test_env["result"], expected_result)

def test_string(solution):
    assert "forbidden" not in solution
"""
DRAWN = "plt.plot([1, 2], label='line'); plt.legend(); plt.savefig('ans.png'); plt.close(); return None, None"
SEEN = (
    "one, two = (np.array(Image.open(name)) for name in ('output.png', 'ans.png'))\n"
    "    if one.shape != two.shape or not np.allclose(one, two):\n"
    "        assert plt.gca().get_legend().get_texts()[0].get_text() == 'line'"
)
PROBLEMS = {
    "plain": {"case": "return number, number + 1", "check": "assert result == ans"},
    "numpy": {
        "imports": "import numpy as np",
        "case": "return np.arange(3), np.arange(3) * (number + 1)",
        "check": "np.testing.assert_array_equal(result, ans)",
    },
    "pandas": {
        "imports": "import pandas as pd",
        "case": "return pd.DataFrame({'u': [1, 2]}), pd.DataFrame({'u': [number + 1, 2]})",
        "check": "pd.testing.assert_frame_equal(result, ans); assert result.equals(ans)",
    },
    "torch": {
        "imports": "import torch",
        "case": "return torch.ones(3), torch.ones(3) * (number + 1)",
        "check": "assert torch.equal(result, ans)",
    },
    "picture": {
        "imports": "import numpy as np\nimport matplotlib.pyplot as plt\nfrom PIL import Image",
        "case": DRAWN,
        "check": SEEN,
        "after": "plt.savefig('output.png')\nresult = None",
    },
}


def problem(kind: str) -> dict[str, Any]:
    """Build one of the small problems in the benchmark's format."""
    context = FRAME.format(**{"imports": "", "after": "", **PROBLEMS[kind]})
    return {"prompt": "", "reference_code": "", "code_context": context, "metadata": {"problem_id": 0, "library": kind}}


CLEAN = """
import os, resource, signal, locale
assert os.listdir('.') == [] and os.listdir(os.path.expanduser('~')) == []
assert os.umask(0o22) == 0o22 and 'MARK' not in os.environ.get('LEFT', '')
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL)[0] == 0
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 20 and locale.setlocale(locale.LC_ALL) is not None
result = a + 1
"""

# MARK is a word to leave behind, BAIT a folder that answers must neither read nor write
FRAME_WALK = "f = sys._getframe()\nwhile f and 'expected_result' not in f.f_locals: f = f.f_back\n"
ATTACKS: dict[str, Attack] = {
    # time
    "an endless loop": Attack("while True: pass"),
    "an endless loop that ignores every signal": Attack(
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass"
    ),
    "a sleep that blocks in C code": Attack("import time; time.sleep(600)"),
    "a computation that blocks in C code": Attack("x = 10 ** 10 ** 9"),
    "a read that never returns": Attack("import os\nr, w = os.pipe()\nos.read(r, 1)"),
    "a deadlock of two threads": Attack("import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()"),
    "an endless loop that swallows every exception": Attack(
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "a regular expression of exponential time": Attack("import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    "a stopped process": Attack("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"),
    "waiting for input": Attack("result = int(input())"),
    # processes
    "a fork bomb": Attack("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", spared=TOO_MUCH),
    "a burst of fifty forks that all sleep": Attack(
        "import os, time\nfor _ in range(50):\n    if os.fork() == 0: time.sleep(600)\nresult = 0"
    ),
    "a daemon in a session of its own": Attack(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n"
        "    os._exit(0)\nresult = 0"
    ),
    "a child that goes on after its parent has answered": Attack(
        "import os\nif os.fork() == 0:\n    while True: pass\nresult = 0"
    ),
    "a child process of another program": Attack(
        "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True); result = 0"
    ),
    "a child that answers in the parent's place": Attack("import os\nif os.fork(): os._exit(0)\nresult = 0"),
    "both halves of a fork answering": Attack("import os\nos.fork()\nresult = 0"),
    "killing itself": Attack("import os; os.kill(os.getpid(), 9)"),
    "killing its parent": Attack("import os; os.kill(os.getppid(), 9); result = 0"),
    "killing its process group": Attack("import os; os.killpg(0, 9)"),
    "killing its siblings": Attack(
        "import os\nfor n in os.listdir('/proc'):\n    try:\n"
        "        if n.isdigit() and int(n) != os.getpid() and\\\n"
        "           int(open(f'/proc/{n}/stat').read().rsplit(')')[1].split()[1]) == os.getppid(): os.kill(int(n), 9)\n"
        "    except OSError: pass\nresult = 0"
    ),
    "killing everything it may": Attack("import os; os.kill(-1, 9)", spared=TOO_MUCH),
    "stopping its parent": Attack("import os; os.kill(os.getppid(), 19); result = 0", spared=NO_WALLS),
    "replacing itself by another program": Attack("import os; os.execv('/bin/true', ['true'])"),
    # memory
    "fifty gigabytes at once": Attack("x = bytearray(50 << 30)"),
    "fifty gigabytes bit by bit": Attack("x = []\nwhile True: x.append(b'x' * (1 << 26))"),
    "fifty gigabytes spread over children": Attack(
        "import os\nfor _ in range(20):\n    if os.fork() == 0: break\nx = []\nwhile True: x.append(b'x' * (1 << 24))",
        spared=TOO_MUCH,
    ),
    "deep recursion in Python": Attack("def f(): return f()\nf()"),
    "recursion into a segmentation fault": Attack(
        "import sys\nsys.setrecursionlimit(10 ** 9)\nx = []\nfor _ in range(10 ** 6): x = [x]\nrepr(x)"
    ),
    "a null pointer": Attack("import ctypes; ctypes.string_at(0)"),
    "a list that contains itself, compared": Attack("x = []; x.append(x); y = []; y.append(y); result = x == y"),
    "a literal nested beyond the parser": Attack("result = " + "(" * 100_000),
    # files
    "a hundred gigabytes in one file": Attack("f = open('big', 'wb')\nf.truncate(100 << 30)\nresult = 0"),
    "a hundred gigabytes written": Attack(
        "n = 0\nwhile True:\n    with open(f'f{n}', 'wb') as f: f.write(b'x' * (1 << 26))\n    n += 1", spared=TOO_MUCH
    ),
    "a hundred thousand files": Attack(
        "import os\nfor n in range(100_000): os.close(os.open(str(n), os.O_CREAT))\nresult = 0"
    ),
    "folders nested a thousand deep": Attack(
        "import os\nfor _ in range(1000):\n    os.mkdir('d'); os.chdir('d')\nresult = 0", spared=DEEP
    ),
    "a folder without rights": Attack(
        "import os\nos.makedirs('d/e'); open('d/e/f', 'w'); os.chmod('d/e', 0); os.chmod('d', 0); result = 0"
    ),
    "a link that leads out of the scratch": Attack(
        "import os\nos.symlink('BAIT', 'out'); os.symlink('/', 'root'); result = 0"
    ),
    "file names that are no text": Attack("open(b'\\xff\\xfe\\n', 'w'); open('-rf', 'w'); result = 0"),
    "a file outside the scratch": Attack(
        "import os\nfor d in ('BAIT', '/', '/tmp', '/usr', '/etc', '/var/tmp', '/root'):\n"
        "    try: open(d + '/MARK', 'w')\n    except OSError: pass\nresult = 0",
        spared=NO_WALLS,
    ),
    "deleting a file": Attack(
        "import os, shutil\nshutil.rmtree('BAIT', ignore_errors=True); result = 0", spared=NO_WALLS
    ),
    "changing a file": Attack(
        "try: open('BAIT/secret', 'w').write('0')\nexcept OSError: pass\nresult = 0", spared=NO_WALLS
    ),
    "a file in shared memory": Attack("open('/dev/shm/MARK', 'w'); result = 0", spared=NO_WALLS),
    "every file descriptor closed": Attack("import os; os.closerange(0, 4096)"),
    "every file descriptor closed, and a right end": Attack("import os; os.closerange(0, 4096); os._exit(0)"),
    "a pass written to every file descriptor": Attack(
        "import os\nfor fd in range(256):\n    for text in (b'passed', b'x' * 16, b'{\"status\": \"passed\"}'):\n"
        "        try: os.write(fd, text)\n        except OSError: pass\n"
    ),
    "a message with its length written to every file descriptor": Attack(
        'import os, struct\nt = b\'{"status": "passed", "detail": "passed", "seconds": 0}\'\n'
        "for fd in range(256):\n    try: os.write(fd, struct.pack('>I', len(t)) + t)\n    except OSError: pass\nresult = 0"
    ),
    "every socket read for the token and answered with it": Attack(
        "import os, socket\nfor fd in range(256):\n    try:\n        s = socket.socket(fileno=os.dup(fd))\n"
        "        s.setblocking(False); s.send(s.recv(64))\n    except OSError: pass\nresult = 0"
    ),
    "every file descriptor joined to one": Attack(
        "import os\nr, w = os.pipe()\nfor fd in range(64):\n    try: os.dup2(w, fd)\n    except OSError: pass\nresult = 0"
    ),
    "every file descriptor used up": Attack(
        "import os\nx = []\ntry:\n    while True: x.append(os.open('/dev/null', 0))\nexcept OSError: pass\nresult = 0"
    ),
    "ten gigabytes of output": Attack(
        "import os\nb = bytes(1 << 24)\nfor _ in range(640):\n    os.write(1, b)\n    os.write(2, b)\nresult = 0"
    ),
    # ends
    "sys.exit(0)": Attack("import sys; sys.exit(0)"),
    "sys.exit(0) within a function that catches all": Attack("import sys\ntry: sys.exit(0)\nfinally: sys.exit(0)"),
    "os._exit(0)": Attack("import os; os._exit(0)"),
    "os.abort()": Attack("import os; os.abort()"),
    "quit()": Attack("quit()"),
    "raise SystemExit": Attack("raise SystemExit"),
    "raise KeyboardInterrupt": Attack("raise KeyboardInterrupt"),
    "raise BaseException": Attack("raise BaseException('passed')"),
    "raise GeneratorExit": Attack("raise GeneratorExit"),
    "an exception that is an exit with code 0": Attack("class E(SystemExit): code = 0\nraise E"),
    "an exit at the end of the interpreter": Attack("import atexit, os\natexit.register(os._exit, 0)\nresult = 0"),
    "an exit when an object dies": Attack(
        "import os\nclass E:\n    def __del__(self): os._exit(0)\nkept = E()\nresult = 0"
    ),
    # exceptions and sources
    "an exception that cannot be pickled": Attack(
        "class E(Exception):\n    def __reduce__(self): raise MemoryError\nraise E(lambda: 0)"
    ),
    "an exception of a hundred megabytes": Attack("raise ValueError('x' * 100_000_000)"),
    "an exception whose text exits": Attack("class E(Exception):\n    def __str__(self): raise SystemExit(0)\nraise E"),
    "an exception whose text never ends": Attack(
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E"
    ),
    "an exception whose text is of another type": Attack("class E(Exception):\n    def __str__(self): return 1\nraise E"),
    "an exception with lone surrogates and NUL bytes": Attack("raise ValueError('\\ud800\\x00passed')"),
    "an exception that pretends to be a pass": Attack("raise AssertionError('passed')"),
    "a chain of ten thousand exceptions": Attack(
        "e = None\nfor n in range(10_000):\n    x = ValueError(n); x.__cause__ = e; e = x\nraise e"
    ),
    "lone surrogates in the source": Attack("result = 0 # \ud800"),
    "NUL bytes in the source": Attack("result = 0 # \x00"),
    "five megabytes of source": Attack("# " + "x" * 5_000_000 + "\nresult = 0"),
    "five megabytes of statements": Attack("x = 1\n" * 800_000 + "result = 0"),
    "a syntax error": Attack("result = = 2"),
    "a source that ends the tests' own string": Attack("'''\nresult = 0\n'''"),
    "an encoding that does not exist": Attack("# -*- coding: nonsense -*-\nresult = 0"),
    "a return outside a function": Attack("return 2"),
    "no answer at all": Attack(""),
    "an insertion mark inside the answer": Attack("[insert]"),
    # state
    "another locale, folder, umask, handler and limit": Attack(
        "import locale, os, signal, resource\nlocale.setlocale(locale.LC_ALL, 'C'); os.chdir('/'); os.umask(0o777)\n"
        "os.environ['LEFT'] = 'MARK'; signal.signal(15, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10)); result = 0"
    ),
    "limits raised again": Attack(
        "import resource\nfor n in range(16):\n    try: resource.setrlimit(n, (-1, -1))\n"
        "    except (OSError, ValueError): pass\nx = []\nwhile True: x.append(b'x' * (1 << 26))",
        spared=TOO_MUCH,
    ),
    "a recursion limit of one": Attack("import sys; sys.setrecursionlimit(30); result = 0"),
    # network and secrets
    "a TCP connection": Attack(
        "import socket; result = int(socket.create_connection(('127.0.0.1', PORT), 1).recv(1)) + a - 1",
        spared=NO_WALLS,
    ),
    "a UDP packet": Attack(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.sendto(b'x', ('192.0.2.1', 53)); result = a + 1",
        spared=NO_WALLS,
    ),
    "a question to the name service": Attack(
        "import socket\nsocket.getaddrinfo('example.org', 80); result = a + 1", spared=NO_WALLS
    ),
    "a Unix socket": Attack(
        "import socket\ns = socket.socket(socket.AF_UNIX); s.connect('BAIT/socket'); result = a + 1", spared=NO_WALLS
    ),
    "an abstract Unix socket": Attack(
        "import socket\ns = socket.socket(socket.AF_UNIX); s.connect('\\0MARK'); result = a + 1", spared=NO_WALLS
    ),
    "a raw socket": Attack(
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); result = a + 1", spared=NO_WALLS
    ),
    "the solution read from disk": Attack("result = int(open('BAIT/secret').read()) + a - 1", spared=NO_WALLS),
    "the user's home read": Attack("open('HOMEFILE', 'rb').read(1); result = a + 1", spared=NO_WALLS),
    "the user's home found by name": Attack(
        "import os, pwd\nhome = pwd.getpwuid(USERID).pw_dir\nfound = [n for n in os.listdir(home) if os.path.isfile(f'{home}/{n}')]\n"
        "result = a + 1 if found else 0", spared=NO_WALLS
    ),
    "the project's tests read": Attack("open('THIS').read(); result = a + 1", spared=NO_WALLS),
    "a secret of the environment": Attack("import os; result = int(os.environ['HOSTILE_SECRET']) + a - 1"),
    "the environment of its parent": Attack(
        "import os\nassert b'HOSTILE_SECRET' in open(f'/proc/{os.getppid()}/environ', 'rb').read(); result = a + 1",
    ),
    "the memory of its parent": Attack(
        "import os\nos.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY); result = a + 1",
    ),
    "another answer on disk": Attack(
        "import glob, os\nfound = [f for f in glob.glob(os.path.dirname(os.getcwd()) + '/**/*', recursive=True)\n"
        "         if os.path.isfile(f) and 'fontlist' not in f]\nresult = a + 1 if found else 0"
    ),
    # the checker, rewritten or read
    "a len, an all and an isinstance that always agree": Attack(
        "import builtins\nbuiltins.all = builtins.isinstance = lambda *x: True\nbuiltins.len = lambda x: 0\nresult = a + 1"
    ),
    "an AssertionError of its own": Attack(
        "import builtins\nclass AssertionError(Exception): pass\nbuiltins.AssertionError = AssertionError\nresult = a + 1"
    ),
    "an exec that runs nothing any more": Attack("import builtins\nbuiltins.exec = lambda *x: None\nresult = a + 1"),
    "a test found through its frame": Attack(
        "import sys\n" + FRAME_WALK + "f.f_globals['exec_test'] = lambda *x: 1\nresult = 0"
    ),
    "the expected value read from a frame": Attack("import sys\n" + FRAME_WALK + "result = f.f_locals['expected_result']"),
    "the expected value read through inspect": Attack(
        "import inspect\nresult = [i.frame.f_locals['expected_result'] for i in inspect.stack()\n"
        "          if 'expected_result' in i.frame.f_locals][0]"
    ),
    "the expected value read through a traceback": Attack(
        "try: 1 / 0\nexcept ZeroDivisionError as e: f = e.__traceback__.tb_frame\n"
        "while 'expected_result' not in f.f_locals: f = f.f_back\nresult = f.f_locals['expected_result']"
    ),
    "the expected value read through traceback.walk_stack": Attack(
        "import traceback\nresult = [f.f_locals['expected_result'] for f, _ in traceback.walk_stack(None)\n"
        "          if 'expected_result' in f.f_locals][0]"
    ),
    "the expected value read through a generator's frame": Attack(
        "def g():\n    f = x.gi_frame\n    while 'expected_result' not in f.f_locals: f = f.f_back\n"
        "    yield f.f_locals['expected_result']\nx = g()\nresult = next(x)"
    ),
    "the expected value read through a task of asyncio": Attack(
        "import asyncio\nasync def main():\n    for f in asyncio.current_task().get_stack():\n"
        "        if 'expected_result' in f.f_locals: return f.f_locals['expected_result']\nresult = asyncio.run(main())"
    ),
    "the expected value read through sys._current_frames": Attack(
        "import sys\nf = next(iter(sys._current_frames().values()))\n"
        "while 'expected_result' not in f.f_locals: f = f.f_back\nresult = f.f_locals['expected_result']"
    ),
    "the expected value read through a trace function": Attack(
        "import sys\ndef t(f, *x):\n    global result\n    while f and 'expected_result' not in f.f_locals: f = f.f_back\n"
        "    result = f.f_locals['expected_result']\nsys.settrace(t)\n(lambda: 0)()\nsys.settrace(None)"
    ),
    "the expected value read by code that bears a library's name": Attack(
        "import warnings\nsource = 'import sys\\nf = sys._getframe()\\nwhile \"expected_result\" not in f.f_locals:\\n'\n"
        "source += '    f = f.f_back\\nresult = f.f_locals[\"expected_result\"]'\n"
        "space = {}\nexec(compile(source, warnings.__file__, 'exec'), space)\nresult = space['result']"
    ),
    "the tests found among all objects": Attack(
        "import gc, types\nfor f in gc.get_objects():\n"
        "    if isinstance(f, types.FunctionType) and f.__name__ == 'exec_test': f.__code__ = (lambda *x: 1).__code__\n"
        "result = 0"
    ),
    "the tests found among the referrers of their input": Attack(
        "import gc\nfor d in gc.get_referrers('expected_result'): pass\nresult = a + 1"
    ),
    "an audit hook of its own": Attack("import sys\nsys.addaudithook(lambda *x: None)\nresult = a + 1"),
    "a value that equals everything": Attack("class E(int):\n    def __eq__(self, other): return True\nresult = E(0)"),
    "a value that equals everything, in a list, reflected": Attack(
        "class E:\n    __eq__ = lambda self, other: True\nclass F(list): pass\nresult = E()"
    ),
    "a value whose class equals every class": Attack(
        "class M(type):\n    def __eq__(cls, other): return True\n    __hash__ = type.__hash__\n"
        "class E(metaclass=M):\n    def __eq__(self, other): return True\nresult = E()"
    ),
    "raw memory through ctypes": Attack("import ctypes\nctypes.memset(id('xx') + 48, 65, 1)\nresult = a + 1"),
    "raw memory through the process's own file": Attack(
        "import os\nos.open('/proc/self/mem', os.O_RDWR)\nresult = a + 1"
    ),
    "the interpreter's own functions through ctypes": Attack(
        "import ctypes\nctypes.pythonapi.PyRun_SimpleString(b'x = 1')\nresult = a + 1"
    ),
    "a timer that rewrites the comparison during the check": Attack(
        "import signal\ndef strike(*x): np.testing.assert_array_equal = lambda *x, **y: None\n"
        "signal.signal(signal.SIGALRM, strike)\nsignal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)\nresult = 0",
        "numpy",
    ),
    "a thread that turns the comparison off and on": Attack(
        "import threading\nreal, fake = np.testing.assert_array_equal, lambda *x, **y: None\ndef flip():\n    while True:\n"
        "        np.testing.assert_array_equal = fake\n        np.testing.assert_array_equal = real\n"
        "threading.Thread(target=flip, daemon=True).start()\nresult = 0",
        "numpy",
    ),
    "a thread that tries out every result": Attack(
        "import threading\nresult = np.zeros(3)\ndef turn():\n    while True:\n        result[1] += 1; result[2] += 2\n"
        "threading.Thread(target=turn, daemon=True).start()",
        "numpy",
    ),
    "a callback of the garbage collector that rewrites the comparison": Attack(
        "import gc\ndef strike(*x): np.testing.assert_array_equal = lambda *x, **y: None\n"
        "gc.callbacks.append(strike)\ngc.set_threshold(1)\nresult = 0",
        "numpy",
    ),
    "a comparison of numpy's replaced": Attack(
        "np.testing.assert_array_equal = lambda *x, **y: None\nresult = 0", "numpy"
    ),
    "a comparison of numpy's rewritten from within": Attack(
        "np.testing.assert_array_equal.__wrapped__ = None\nimport numpy.testing._private.utils as u\n"
        "u.assert_array_compare = lambda *x, **y: None\nresult = 0",
        "numpy",
    ),
    "the code of numpy's comparison exchanged": Attack(
        "f = np.testing._private.utils.assert_array_compare\nf.__code__ = (lambda *x, **y: None).__code__\nresult = 0",
        "numpy",
    ),
    "the code of numpy's comparison exchanged by functools": Attack(
        "import functools\ndef fake(*x, **y): pass\n"
        "functools.update_wrapper(np.testing._private.utils.assert_array_compare, fake, assigned=('__code__',))\nresult = 0",
        "numpy",
    ),
    "the defaults of numpy's comparison exchanged by functools": Attack(
        "import functools\ndef fake(x, y, err_msg='', verbose=True, *, strict=None): pass\nfake.__kwdefaults__ = {'strict': None}\n"
        "functools.update_wrapper(np.testing._private.utils.assert_array_compare, fake, assigned=('__defaults__',))\n"
        "result = 0",
        "numpy",
    ),
    "numpy's testing module exchanged": Attack(
        "import types\nnp.testing = types.SimpleNamespace(assert_array_equal=lambda *x: None)\nresult = 0", "numpy"
    ),
    "numpy's equality replaced by a ufunc": Attack(
        "np.set_numeric_ops(equal=np.greater_equal, not_equal=np.greater)\nresult = a * 2", "numpy"
    ),
    "an array class that equals everything": Attack(
        "class E(np.ndarray):\n    def __array_ufunc__(self, f, m, *x, **y): return np.array(f is np.equal)\n"
        "    def __eq__(self, o): return np.ones(3, bool)\nresult = np.zeros(3).view(E)",
        "numpy",
    ),
    "an object array of values that equal everything": Attack(
        "class E:\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\n"
        "result = np.array([E(), E(), E()], dtype=object)",
        "numpy",
    ),
    "an array that is another each time": Attack(
        "class E:\n    def __array__(self, *x): return np.arange(3) * 2\nresult = E()", "numpy"
    ),
    "a comparison put back by the object that dies": Attack(
        "class E:\n    def __del__(self): np.testing.assert_array_equal = lambda *x, **y: None\n"
        "kept = E()\nkept.itself = kept\nresult = a if (a * 2)[0] else a",
        "numpy",
    ),
    "an error callback of numpy's that rewrites the comparison": Attack(
        "def strike(*x): np.testing.assert_array_equal = lambda *x, **y: None\n"
        "np.seterr(all='call')\nnp.seterrcall(strike)\nresult = np.array([0., 0., 0.])",
        "numpy",
    ),
    "a frame comparison replaced": Attack(
        "pd.testing.assert_frame_equal = lambda *x, **y: None\npd.DataFrame.equals = lambda *x: True\nresult = a * 0",
        "pandas",
    ),
    "a frame that equals every frame": Attack(
        "class E(pd.DataFrame):\n    def equals(self, o): return True\npd._testing.asserters.assert_frame_equal = None\n"
        "result = E(a)",
        "pandas",
    ),
    "one frame whose method is hidden": Attack(
        "result = a.copy() if a is None else a * 1\nobject.__setattr__(result, 'equals', lambda o: True)\n"
        "result['u'] = [2, 2]",
        "pandas",
    ),
    "values in a frame that equal everything": Attack(
        "class E(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\n"
        "result = pd.DataFrame({'u': [E(9), E(9)]}, dtype=object)",
        "pandas",
    ),
    "the expected frame read by a query": Attack(
        "for n in range(40):\n    try: pd.eval('expected_result', level=n)\n    except Exception: pass\nresult = a", "pandas"
    ),
    "a mode of torch that agrees to all": Attack(
        "from torch.overrides import TorchFunctionMode\nclass M(TorchFunctionMode):\n"
        "    def __torch_function__(self, f, t, x=(), y=None):\n"
        "        return True if f is torch.equal else f(*x, **(y or {}))\nM().__enter__()\nresult = a * 2",
        "torch",
    ),
    "a tensor class that agrees to all": Attack(
        "class E(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, *x): return torch.tensor(True)\n"
        "result = torch.zeros(3).as_subclass(E)",
        "torch",
    ),
    "an operator of torch replaced": Attack("torch.equal = lambda *x: True\nresult = a * 2", "torch"),
    "the expected picture linked under its own name": Attack(
        "import os\nos.link('ans.png', 'output.png')\nplt.plot([3, 1])", "picture"
    ),
    "the expected picture linked, errors caught": Attack(
        "import os\ntry: os.symlink('ans.png', 'output.png')\nexcept OSError: pass\nplt.plot([3, 1])", "picture"
    ),
    "a figure that saves the expected picture": Attack(
        "import shutil\nf = plt.figure()\nf.savefig = lambda *x, **y: shutil.copy('ans.png', 'output.png')", "picture"
    ),
    "axes that tell another legend": Attack(
        "class L:\n    get_texts = lambda s: [s]\n    get_text = lambda s: 'line'\n"
        "plt.plot([3])\nplt.gca().get_legend = lambda: L()",
        "picture",
    ),
    "a reader of pictures that finds all alike": Attack(
        "Image.open = lambda name: np.zeros((1, 1))\nplt.plot([3])", "picture"
    ),
    "a format of pictures of its own": Attack(
        "Image.OPEN['PNG'] = (lambda *x: Image.new('L', (1, 1)), lambda p: True)\nplt.plot([3])", "picture"
    ),
}  # fmt: skip


class Round(NamedTuple):
    """What one level's call gave: sentence -> (attack, honest, wrong), and what was seen around it."""

    verdicts: dict[str, tuple[Verdict, Verdict, Verdict]]
    bait: Path
    mark: str
    seconds: float
    left: list[str]


def _works(level: sandbox.Level, python: Path) -> str:
    if level == "limits":
        return ""
    return sandbox._try(level, str(python), tuple([str(python), *describe(python)[0]]))


def _serve(folder: Path, mark: str) -> tuple[int, list[socket.socket]]:
    """Open the listeners that an answer would like to reach; they say `2` to whoever comes."""
    listeners = [socket.create_server(("127.0.0.1", 0)), *(socket.socket(socket.AF_UNIX) for _ in range(2))]
    listeners[1].bind(str(folder / "socket"))
    listeners[2].bind("\0" + mark)

    def greet(listener: socket.socket) -> None:
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"2")
        except OSError:
            pass

    for listener in listeners:
        listener.listen()
        threading.Thread(target=greet, args=(listener,), daemon=True).start()
    return listeners[0].getsockname()[1], listeners


def _marked(mark: str) -> list[str]:
    """List the processes that carry the mark in the environment they were started with."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and mark in process.environ().values():
                found.append(f"{process.pid} {process.cmdline()[:4]}")
        except (psutil.Error, OSError):
            continue
    return found


def _grade(level: sandbox.Level, python: Path, folder: Path) -> Round:
    mark, bait = f"hostile{uuid.uuid4().hex}", folder / "bait"
    bait.mkdir(mode=0o777)
    (bait / "secret").write_text("2")
    port, listeners = _serve(bait, mark)
    words = {"MARK": mark, "BAIT": str(bait), "PORT": str(port), "THIS": __file__, "USERID": str(os.getuid())}
    words["HOMEFILE"] = str(next((path for path in Path.home().iterdir() if path.is_file()), bait / "secret"))
    jobs, chosen = [], {s: a for s, a in ATTACKS.items() if not (level == "limits" and a.spared)}
    for number, attack in enumerate(chosen.values()):
        code = attack.code
        for word, value in words.items():
            code = code.replace(word, value)
        jobs += [
            Job(number, 0, code, problem(attack.problem)),
            Job(number, 1, f"{CLEAN}# {number}", problem("plain")),
            Job(number, 2, f"result = a # {number}", problem("plain")),
        ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "probe", lambda *arguments, **options: (level, "chosen by the test"))
        patch.setenv("HOSTILE_SECRET", "2")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # level `limits` says loudly that it is no sandbox
            grader = Grader(python, time_limit=LIMIT, memory_gib=4)
        grader._room.environment["HOSTILE_MARK"] = mark
        began = time.monotonic()
        with grader:
            verdicts = grader.grade(jobs)
        seconds = time.monotonic() - began
    for listener in listeners:
        listener.close()
    grouped = {s: (verdicts[3 * n], verdicts[3 * n + 1], verdicts[3 * n + 2]) for n, s in enumerate(chosen)}
    return Round(grouped, bait, mark, seconds, _marked(mark))


@pytest.fixture(scope="module", params=LEVELS)
def level(request: pytest.FixtureRequest, grading_python: Path) -> sandbox.Level:
    found: sandbox.Level = request.param
    if reason := _works(found, grading_python):
        pytest.skip(f"this machine lacks {found}: {reason}")
    return found


@pytest.fixture(scope="module")
def graded(level: sandbox.Level, grading_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Round]:
    yield _grade(level, grading_python, tmp_path_factory.mktemp(f"hostile-{level}"))


@pytest.mark.parametrize("sentence", ATTACKS)
def test_hostile(graded: Round, level: sandbox.Level, sentence: str) -> None:
    """The answer does not pass, in bounded time; an honest neighbour passes, a wrong one fails."""
    if sentence not in graded.verdicts:
        pytest.skip(f"{level}: {ATTACKS[sentence].spared}")
    attack, honest, wrong = graded.verdicts[sentence]
    assert attack.status in {"failed", "crashed", "timed_out"}, attack.detail
    assert (honest.status, wrong.status) == ("passed", "failed"), (honest.detail, wrong.detail)
    assert attack.seconds < LIMIT + 2


def test_nothing_is_left_behind(graded: Round, level: sandbox.Level) -> None:
    assert not graded.left
    assert sorted(path.name for path in graded.bait.iterdir()) == ["secret", "socket"]
    assert (graded.bait / "secret").read_text() == "2"
    for folder in ("/", "/tmp", "/usr", "/etc", "/var/tmp", "/dev/shm", str(Path.home()), os.getcwd()):
        assert not [name for name in os.listdir(folder) if graded.mark in name]


def test_attacks_are_many_and_told_apart() -> None:
    assert len(ATTACKS) >= 80
    assert len({attack.code for attack in ATTACKS.values()}) == len(ATTACKS)


# What an honest answer may do, although an attack does something alike.
HONEST_ANSWERS = {
    "warnings, logging and tracebacks printed": (
        "import collections, logging, traceback, warnings\nP = collections.namedtuple('P', 'x y')\nwarnings.warn('x')\n"
        "try: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc(); text = traceback.format_exc()\n"
        "logging.warning('x')\nresult = a + 1"
    ),
    "a thread left behind": (
        "import threading, time\nthreading.Thread(target=lambda: time.sleep(300), daemon=True).start()\nresult = a + 1"
    ),
    "a busy thread left behind": (
        "import threading\ndef turn():\n    while True: pass\nthreading.Thread(target=turn, daemon=True).start()\nresult = a + 1"
    ),
    "a timer, a handler, a callback and an exit function left behind": (
        "import atexit, gc, os, signal\nsignal.signal(signal.SIGALRM, lambda *x: None)\nsignal.alarm(30)\n"
        "gc.callbacks.append(lambda *x: None)\natexit.register(os._exit, 1)\nresult = a + 1"
    ),
    "a child process left behind": (
        "import subprocess\nsubprocess.Popen(['sleep', '300'], start_new_session=True)\nresult = a + 1"
    ),
    "another locale, folder, umask and limit": (
        "import locale, os, resource, sys\nlocale.setlocale(locale.LC_ALL, 'C'); os.chdir('/'); os.umask(0o777)\n"
        "sys.setrecursionlimit(5000); resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); result = a + 1"
    ),
    "threads that have ended": (
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool:\n"
        "    result = list(pool.map(lambda x: x + 1, [a]))[0]"
    ),
    "names added to builtins and modules": "import builtins, math\nbuiltins.mine = math.mine = 1\nresult = a + mine",
    "a class with an equality that is not the result": (
        "class P:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o.x\n"
        "result = a + (P(1) == P(1))"
    ),
    "code compiled and executed": "space = {}\nexec(compile('y = 1', 'mine.py', 'exec'), space)\nresult = a + space['y']",
    "an async function": "import asyncio\nasync def f(): return a + 1\nresult = asyncio.run(f())",
    "annotations are evaluated as in a plain interpreter": (
        "def f(x: int): return x\nresult = a + (f.__annotations__['x'] is int)"
    ),
    "files written and read": "open('x', 'w').write('1')\nresult = a + int(open('x').read())",
    "its own builtins looked at": (
        "import builtins\nresult = a + (__builtins__ in (builtins, vars(builtins)) and type(exec) is type(len))"
    ),
}


@pytest.fixture(scope="module")
def usual(grading_python: Path) -> Iterator[Grader]:
    with Grader(grading_python, time_limit=20.0) as made:
        yield made


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("sentence", HONEST_ANSWERS)
def test_an_honest_answer_is_not_suspected(usual: Grader, sentence: str) -> None:
    [verdict] = usual.grade([Job(0, 0, HONEST_ANSWERS[sentence], problem("plain"))])
    assert verdict.status == "passed", verdict.detail


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_rewritten_checker_is_called_by_its_name(usual: Grader) -> None:
    """Answers that would have passed without the guard, so that the guard is what fails them."""
    for sentence in (
        "a comparison of numpy's replaced",
        "a value that equals everything",
        "a figure that saves the expected picture",
        "axes that tell another legend",
        "a mode of torch that agrees to all",
        "the expected value read from a frame",
    ):
        attack = ATTACKS[sentence]
        [verdict] = usual.grade([Job(0, 0, attack.code, problem(attack.problem))])
        assert verdict.status == "failed" and verdict.detail.startswith("failed: "), sentence
        if "picture" not in sentence:
            assert verdict.detail.startswith("failed: tampered"), (sentence, verdict.detail)
