"""Give scores the unit that tables have, points: a fraction times 100, with two decimals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

UNITS = "points"  # part of the digest of what is shown, so that an older MLflow run, in fractions, is out of date
_OTHER_UNITS = ("cost/", "train/")
_SECONDS = {"train_seconds", "evaluate_seconds", "seconds_per_stage"}  # columns of tables


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


def frame_in_points(frame: DataFrame) -> DataFrame:
    """Return a table with all scores in points; seconds, whole numbers and texts stay.

    >>> import pandas as pd
    >>> frame_in_points(pd.DataFrame({"method": ["lora"], "rank": [16], "avg": [0.5], "train_seconds": [7.0]}))
      method  rank   avg  train_seconds
    0   lora    16  50.0            7.0
    """
    scores = [name for name in frame.select_dtypes("float").columns if name not in _SECONDS]
    return frame.assign(**{name: frame[name].map(points) for name in scores})
