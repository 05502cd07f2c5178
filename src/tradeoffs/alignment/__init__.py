"""Alignment methods: one file each, one registry, the same arguments, the same kind of policy back."""

from tradeoffs.alignment.run import align
from tradeoffs.methods import METHODS

__all__ = ["METHODS", "align"]
