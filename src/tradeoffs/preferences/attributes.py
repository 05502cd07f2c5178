"""A reward model with several attributes: linear regression of ratings from 0 to 100 on the frozen model's hidden states.

    min_W sum_ij m_ij (w_j . f(x_i, y_i) + b_j - r_ij)^2 / sum_i m_ij + penalty ||w_j||^2,   m_ij = 0 where r_ij is missing

A rating that is missing is left out of its attribute's loss, so data sets with different attributes can be fitted together. With a frozen
trunk the attributes do not touch each other, and each has a closed solution. The right penalty depends on how many ratings there are for
how many features: each attribute gets its own by generalised cross-validation on what it is fitted to.

Source: the multi-objective regression that DPA's reward model uses (RLHFlow, 2024-05-29); HelpSteer's ratings 0-4 become 20 g + 10.
Generalised cross-validation: Golub, Heath and Wahba 1979, Technometrics 21(2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 5))


class AttributeModel(NamedTuple):
    """A fitted head.

    Attributes:
        attributes: names, in order.
        weights: shape (attributes, hidden); `bias`: shape (attributes,).
        correlations: Pearson's r on held-out ratings, for each attribute; None where there are fewer than three or no spread.
    """

    attributes: tuple[str, ...]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    correlations: dict[str, float | None]

    def rate(self, features: NDArray[np.float64], attributes: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Predict ratings, cut to 0-100.

        Args:
            features: shape (n, hidden).
            attributes: which, in this order; default all.

        Returns:
            Shape (n, attributes).

        Raises:
            ValueError: an attribute was not fitted.
        """
        wanted = tuple(attributes or self.attributes)
        unknown = [name for name in wanted if name not in self.attributes]
        if unknown:
            raise ValueError(f"attributes: got {unknown[0]!r}; this reward model accepts {', '.join(self.attributes)}")
        chosen = [self.attributes.index(name) for name in wanted]
        return np.clip(features @ self.weights[chosen].T + self.bias[chosen], 0.0, 100.0)


def choose_penalty(scaled: NDArray[np.float64], ratings: NDArray[np.float64]) -> float:
    """The penalty among `PENALTIES` with the least generalised cross-validation error, n RSS / (n - degrees of freedom)^2.

    Args:
        scaled: features of zero mean, shape (n, hidden).
        ratings: shape (n,), of zero mean; the mean counts as a degree of freedom.
    """
    n = len(ratings)
    values, vectors = np.linalg.eigh(scaled.T @ scaled / n)
    values = values.clip(0)
    target = vectors.T @ (scaled.T @ ratings / n)

    def error(penalty: float) -> float:
        residual = ratings - scaled @ (vectors @ (target / (values + penalty)))
        free = 1 - (1 + (values / (values + penalty)).sum()) / n
        return float((residual**2).mean() / max(free, 1e-9) ** 2)

    return min(PENALTIES, key=error)


def fit_attributes(
    features: NDArray[np.float64],
    ratings: NDArray[np.float64],
    attributes: Sequence[str],
    held_out: NDArray[np.bool_] | None = None,
    penalty: float | None = None,
) -> AttributeModel:
    """Fit a linear head to ratings.

    Args:
        features: shape (n, hidden).
        ratings: shape (n, attributes), 0-100; NaN where missing.
        attributes: their names.
        held_out: rows kept from fitting, for the correlations; default none.
        penalty: of the squared weights, for features scaled to unit variance; None chooses one for each attribute.

    Raises:
        ValueError: shapes do not fit, a rating is out of range, or an attribute has no rating.
    """
    if ratings.shape != (len(features), len(attributes)):
        raise ValueError(f"ratings: got shape {ratings.shape}; accepts ({len(features)}, {len(attributes)})")
    if ((ratings < 0) | (ratings > 100)).any() or np.isinf(ratings).any():
        raise ValueError("ratings: accepts numbers from 0 to 100, NaN where one is missing")
    kept_out = np.zeros(len(features), bool) if held_out is None else held_out
    weights, bias, correlations = [], [], {}
    for name, column in zip(attributes, ratings.T, strict=True):
        known = ~np.isnan(column)
        rows = known & ~kept_out
        if not rows.any():
            raise ValueError(f"ratings: none for {name!r} to learn from; accepts at least one for each attribute")
        centre, spread = features[rows].mean(0), features[rows].std(0) + 1e-9
        scaled, mean = (features[rows] - centre) / spread, column[rows].mean()
        chosen = choose_penalty(scaled, column[rows] - mean) if penalty is None else penalty
        gram = scaled.T @ scaled / rows.sum() + chosen * np.eye(features.shape[1])
        own = np.linalg.solve(gram, scaled.T @ (column[rows] - mean) / rows.sum()) / spread
        weights.append(own)
        bias.append(mean - centre @ own)
        tested = known & kept_out
        predicted = features[tested] @ own
        spreads = tested.sum() >= 3 and predicted.std() > 0 and column[tested].std() > 0
        correlations[name] = float(np.corrcoef(predicted, column[tested])[0, 1]) if spreads else None
    return AttributeModel(tuple(attributes), np.array(weights), np.array(bias), correlations)
