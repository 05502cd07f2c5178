"""Linear scalarisation: one policy for one fixed trade-off, R = v1 * helpfulness + v2 * verbosity.

Trained by rejection-sampling fine-tuning or by RLOO, whichever `optimizer` names. It is what DPA is compared with: there one policy
serves all directions, here each v needs a policy of its own.

Source: linear scalarisation as in DPA's algorithm figure, arXiv 2402.18571.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tradeoffs.alignment import rloo, rsft
from tradeoffs.parameters import AlignParameters


def train(parameters: AlignParameters, folder: Path) -> dict[str, Any]:
    """Train on the reward `weights . (helpfulness, verbosity)`; see `tradeoffs.alignment.align`."""
    return (rsft if parameters.optimizer == "rsft" else rloo).train(parameters, folder)
