"""Run by `accelerate launch` in `test_equal_runs.py`: train with each method of a JSON list of parameters, one after the other."""

import json
import sys

from tradeoffs import processes
from tradeoffs.alignment import align
from tradeoffs.parameters import AlignParameters

if __name__ == "__main__":
    assert processes.count() == int(sys.argv[2]), f"{processes.count()} processes"
    for values in json.loads(sys.argv[1]):
        align(AlignParameters(**values))
