"""Give scores the unit that tables have, points: a fraction times 100, with two decimals."""

from __future__ import annotations

from collections.abc import Mapping

UNITS = "points"  # part of the digest of what is shown, so that an older MLflow run, in fractions, is out of date
_OTHER_UNITS = ("cost/", "train/")


def points(value: float) -> float:
    """Return a fraction as a table prints it.

    >>> points(0.246937), points(0.925 - 0.91875), points(-0.00001)
    (24.69, 0.62, 0.0)
    """
    exact = round(100 * value, 9)  # 0.625, where 100 * (0.925 - 0.91875) is 0.6250000000000089
    return round(exact, 2) + 0.0  # -0.0 + 0.0 is 0.0


def in_points(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics with all scores in points; costs and losses keep their units.

    >>> in_points({"target/new": 0.5, "cost/train_seconds": 7.0})
    {'target/new': 50.0, 'cost/train_seconds': 7.0}
    """
    return {name: value if name.startswith(_OTHER_UNITS) else points(value) for name, value in metrics.items()}
