"""Joules, clock and temperature of the device that computes; what cannot be read is null with a reason, never zero.

Energy comes from cumulative counters through Zeus (NVML on a GPU, RAPL on a CPU). Counters advance every 20 to 100 ms, so that windows
should last seconds; a window in which one did not advance has no energy, not none.

Source: ML.ENERGY benchmark, arXiv 2505.06371; Zeus (You et al. 2023, NSDI).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import torch

NO_GPU_COUNTER = "the GPU's energy counter cannot be read through NVML"
NO_CPU_COUNTER = "no RAPL counter is readable here (a virtual machine, or /sys/class/powercap needs root)"


class Window:
    """What a window of time took: joules, or None."""

    joules: float | None = None


class Meter:
    """Reads the counters of one device.

    Attributes:
        reason: why there is no energy; None where there is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reason: str | None = None
        self._zeus: Any = None
        on_gpu = device.type == "cuda"
        try:
            from zeus.monitor import ZeusMonitor

            self._zeus = ZeusMonitor(gpu_indices=[device.index or 0] if on_gpu else [])
            with self.window(as_probe=True):
                pass
        except Exception as error:
            self.reason = f"{NO_GPU_COUNTER if on_gpu else NO_CPU_COUNTER}: {str(error).splitlines()[0] if str(error) else error!r}"
            self._zeus = None

    @contextmanager
    def window(self, as_probe: bool = False) -> Iterator[Window]:
        """Measure what passes within; the result's `joules` are there afterwards."""
        found = Window()
        if self._zeus is None:
            yield found
            return
        self._zeus.begin_window("timing", sync_execution=False)
        try:
            yield found
        finally:
            told = self._zeus.end_window("timing", sync_execution=False)
            if self.device.type == "cuda":
                values = list(told.gpu_energy.values())
            else:
                values = [v for own in (told.cpu_energy, told.dram_energy) if own for v in own.values()]
            if as_probe and not values:
                self.reason = NO_GPU_COUNTER if self.device.type == "cuda" else NO_CPU_COUNTER
                self._zeus = None
            found.joules = sum(values) or None

    def clock_mhz(self) -> float | None:
        """The clock now: of the GPU's multiprocessors, or the mean over CPU cores; None where it is not told."""
        if self.device.type == "cuda":
            import torch

            with contextlib.suppress(Exception):
                return float(torch.cuda.clock_rate(self.device))
            return None
        with contextlib.suppress(Exception):
            return float(psutil.cpu_freq().current) or None
        return None

    def temperature_c(self) -> float | None:
        """The temperature now: of the GPU, or the hottest sensor of the CPU; None where it is not told."""
        if self.device.type == "cuda":
            import torch

            with contextlib.suppress(Exception):
                return float(torch.cuda.temperature(self.device))
            return None
        with contextlib.suppress(Exception):
            return max(reading.current for sensors in psutil.sensors_temperatures().values() for reading in sensors)
        return None
