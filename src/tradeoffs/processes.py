"""Several processes that train one policy, as `accelerate launch` starts them: who does what, and who waits.

A process started alone is the only one, and nothing here costs it anything. Files are written by the main process, or by each process
for its own share of the rows; the others wait and then read them, so that all see the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from accelerate import PartialState

T = TypeVar("T")


@functools.cache
def _alone() -> bool:
    import os

    return int(os.environ.get("WORLD_SIZE", "1")) == 1


def state() -> PartialState:
    """What accelerate knows of the processes."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def count() -> int:
    """How many processes there are."""
    return 1 if _alone() else state().num_processes


def rank() -> int:
    """Which of them this is, from 0."""
    return 0 if _alone() else state().process_index


def is_main() -> bool:
    """Whether this is the one that writes what is written once."""
    return rank() == 0


def wait() -> None:
    """Wait for all processes to come here."""
    if not _alone():
        state().wait_for_everyone()


def main_first(work: Callable[[], T]) -> T:
    """Do work in the main process, then, when it is done, in the others, which find its files; all go on together.

    Returns:
        What this process's call gave.
    """
    if is_main():
        result = work()
        wait()
    else:
        wait()
        result = work()
    wait()
    return result
