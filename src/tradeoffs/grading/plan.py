"""Which server runs what, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tradeoffs.grading.imports import Imports, split_quiet

# Rough seconds on a laptop core: to load a library, and to run one test that uses it. They decide the order only, never
# a verdict.
_LOAD = {
    **{"tensorflow": 6.0, "torch": 3.0, "gensim": 2.0, "statsmodels": 1.5, "seaborn": 1.2, "sklearn": 1.0},
    **{"xgboost": 1.0, "matplotlib": 0.5, "pandas": 0.5, "scipy": 0.3, "numpy": 0.15},
}
_RUN = {"tensorflow": 0.2, "torch": 0.1, "seaborn": 0.4, "matplotlib": 0.3, "sklearn": 0.1}
_SEARCH, _SEARCH_SECONDS = "from sklearn.model_selection import GridSearchCV", 4.0
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
    if _SEARCH in imports:
        return _SEARCH_SECONDS
    return max((_RUN.get(name, 0.03) for name in _libraries(imports)), default=0.03)


def _host(imports: Imports, count: int, hosts: Collection[Imports]) -> Imports:
    """Choose the server for a group: its own, or one that has loaded a part and leaves the rest to every child.

    A child that imports the rest does what a fresh interpreter would do, so the verdict is the same; for a few jobs it
    is cheaper than to start a server. What a server may hide costs next to nothing, wherever the job goes.
    """
    needed = split_quiet(imports)[0]
    costs = {host: count * (load_seconds(needed) - load_seconds(host)) for host in hosts if set(host) <= set(needed)}
    best = min(costs, key=lambda host: costs[host], default=needed)
    return best if costs.get(best, float("inf")) < load_seconds(needed) else needed


class Plan:
    """The jobs of one call, shared by the threads that work on them.

    Args:
        groups: what is imported -> indices of jobs.
        warm: imports of the servers that stand ready.
    """

    def __init__(self, groups: Mapping[Imports, Sequence[int]], warm: Collection[Imports] = ()) -> None:
        counts: dict[Imports, int] = {}
        for imports, jobs in groups.items():
            needed = split_quiet(imports)[0]
            counts[needed] = counts.get(needed, 0) + len(jobs)
        hosts = set(warm) | {imports for imports, count in counts.items() if count > 3}
        batches: dict[Imports, list[tuple[bool, float, Batch]]] = {}
        costs: dict[Imports, float] = {}
        for imports, jobs in groups.items():
            needed, quiet = split_quiet(imports)
            host = _host(imports, len(jobs), hosts)
            each = run_seconds(imports) + load_seconds(needed) - load_seconds(host)
            # Several batches even of a small group, so that one slow answer does not hold up the rest.
            size = max(1, min(int(_BATCH_SECONDS / each), -(-len(jobs) // 4)))
            batches.setdefault(host, []).extend(
                (bool(quiet), each, Batch(host, list(jobs[i : i + size]))) for i in range(0, len(jobs), size)
            )
            costs[host] = costs.get(host, load_seconds(host)) + each * len(jobs)
        # The most expensive first, among servers and on each of them, so that the threads finish together; but before
        # a server grows by what it hides, whatever needs none of it, for the time of a fork grows with it.
        self._batches = {
            host: [(each, batch) for _, each, batch in sorted(batches[host], key=lambda item: (item[0], -item[1]))]
            for host in sorted(batches, key=lambda h: -costs[h])
        }
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
            A batch for the same server as long as there is one, else for a server nobody uses, else from the queue that
            takes longest, if a second server pays; None when nothing is left to do.
        """
        with self._lock:
            if current is not None:
                self._working[current] = self._working.get(current, 1) - 1
            left = {host: queue for host, queue in self._batches.items() if queue}
            if self.stopped or not left:
                return None
            if current in left:
                host: Imports | None = current
            else:
                unused = [host for host in left if not self._working.get(host)]
                host = unused[0] if unused else self._shared(left)  # a server may import nothing: `()` is one
            if host is None:
                return None
            self._working[host] = self._working.get(host, 0) + 1
            return left[host].pop(0)[1]

    @staticmethod
    def _shared(left: Mapping[Imports, Sequence[tuple[float, Batch]]]) -> Imports | None:
        """Find the server to start a second time: whose jobs take the longest, beyond what its start costs."""
        gains = {
            host: sum(each * len(batch.jobs) for each, batch in queue) / 2 - load_seconds(host)
            for host, queue in left.items()
        }
        best = max(gains, key=lambda host: gains[host])
        return best if gains[best] > 0 else None
