"""Which server runs what, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tradeoffs.grading.imports import Imports

# Rough seconds on a laptop core: to load a library, and to run one test that uses it. They decide the order only, never
# a verdict.
_LOAD = {
    **{"tensorflow": 6.0, "torch": 3.0, "gensim": 2.0, "statsmodels": 1.5, "seaborn": 1.2, "sklearn": 1.0},
    **{"xgboost": 1.0, "matplotlib": 0.5, "pandas": 0.5, "scipy": 0.3, "numpy": 0.15},
}
_RUN = {"tensorflow": 0.6, "torch": 0.8, "seaborn": 0.4, "matplotlib": 0.35, "sklearn": 0.2}
_BATCH_SECONDS = 8.0


class Batch(NamedTuple):
    """Jobs for one server: what the server has loaded, and the jobs' indices."""

    imports: Imports
    jobs: list[int]


def _libraries(imports: Imports) -> set[str]:
    return {line.split()[1].split(".")[0] for line in imports}


def load_seconds(imports: Imports) -> float:
    """Estimate how long a server takes to start."""
    return 0.1 + sum(_LOAD.get(name, 0.05) for name in _libraries(imports))


def run_seconds(imports: Imports) -> float:
    """Estimate how long a job takes on a warm server."""
    return max((_RUN.get(name, 0.03) for name in _libraries(imports)), default=0.03)


def _host(imports: Imports, count: int, hosts: Collection[Imports]) -> Imports:
    """Choose the server for a group: its own, or one that has loaded a part and leaves the rest to every child.

    A child that imports the rest does what a fresh interpreter would do, so the verdict is the same; for a few jobs it
    is cheaper than to start a server.
    """
    costs = {host: count * (load_seconds(imports) - load_seconds(host)) for host in hosts if set(host) <= set(imports)}
    best = min(costs, key=lambda host: costs[host], default=imports)
    return best if costs.get(best, float("inf")) < load_seconds(imports) else imports


class Plan:
    """The jobs of one call, shared by the threads that work on them.

    Args:
        groups: what is imported -> indices of jobs.
        warm: imports of the servers that stand ready.
    """

    def __init__(self, groups: Mapping[Imports, Sequence[int]], warm: Collection[Imports] = ()) -> None:
        hosts = set(warm) | {imports for imports, jobs in groups.items() if len(jobs) > 3}
        if sum(len(jobs) <= 3 for jobs in groups.values()) > 3:
            hosts.add(("import numpy",))
        batches: dict[Imports, list[Batch]] = {}
        costs: dict[Imports, float] = {}
        for imports, jobs in groups.items():
            host = _host(imports, len(jobs), hosts)
            each = run_seconds(imports) + load_seconds(imports) - load_seconds(host)
            # Several batches even of a small group, so that one slow answer does not hold up the rest.
            size = max(1, min(int(_BATCH_SECONDS / each), -(-len(jobs) // 4)))
            batches.setdefault(host, []).extend(
                Batch(host, list(jobs[i : i + size])) for i in range(0, len(jobs), size)
            )
            costs[host] = costs.get(host, load_seconds(host)) + each * len(jobs)
        # The most expensive first, so that the servers finish together.
        self._batches = {host: batches[host] for host in sorted(batches, key=lambda host: -costs[host])}
        self._working: dict[Imports, int] = {}
        self._lock = threading.Lock()
        self.stopped = False

    def stop(self) -> None:
        """Give out no more batches."""
        self.stopped = True

    def take(self, current: Imports | None) -> Batch | None:
        """Take the next batch.

        Args:
            current: imports of the server that the calling thread has just used.

        Returns:
            A batch for the same server as long as there is one, else for a server nobody uses, else from the longest
            queue; None when nothing is left.
        """
        with self._lock:
            if current is not None:
                self._working[current] = self._working.get(current, 1) - 1
            left = {host: queue for host, queue in self._batches.items() if queue}
            if self.stopped or not left:
                return None
            free = [host for host in left if not self._working.get(host)]
            host = current if current in left else (free or [max(left, key=lambda host: len(left[host]))])[0]
            assert host is not None
            self._working[host] = self._working.get(host, 0) + 1
            return left[host].pop(0)
