"""Progress of long work: a bar in a terminal, a line now and then in a log or a notebook, always with rate and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from tradeoffs import processes

LINE_EVERY_S = 5.0


def bar(items: Iterable[Any] | None = None, *, total: int, what: str, unit: str, initial: int = 0) -> tqdm[Any]:
    """A tqdm bar that stays legible where no terminal is: in a notebook that Papermill executes each update is a line of its own."""
    terminal = sys.stderr.isatty()
    return tqdm(
        items,
        disable=not processes.is_main(),
        total=total,
        desc=what,
        unit=unit,
        initial=initial,
        ncols=100,
        ascii=not terminal,
        mininterval=0.2 if terminal else LINE_EVERY_S,
        maxinterval=10.0 if terminal else LINE_EVERY_S * 2,
        miniters=None if terminal else 1,
        file=sys.stderr if terminal else _Lines(),
    )


def tick(progress: tqdm[Any]) -> None:
    """Advance a bar by one; as a callback."""
    progress.update(1)


def note(progress: tqdm[Any], text: str) -> None:
    """Show a remark beside a bar that has not moved, at most as often as the bar itself may be drawn."""
    if progress.disable:
        return
    progress.set_postfix_str(text, refresh=False)
    if time.time() - progress.last_print_t >= progress.mininterval:
        progress.refresh()
        progress.last_print_t = time.time()


class _Lines:
    """A stream that ends each of tqdm's redraws with a newline instead of overwriting the one before."""

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            sys.stdout.write(line + "\n")

    def flush(self) -> None:
        sys.stdout.flush()
