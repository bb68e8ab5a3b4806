"""CIDEr of captions on white-space tokens, as pycocoevalcap computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cider(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> np.ndarray:
    """Return each image's CIDEr (CIDEr-D, 0 to 10), [n]; the mean is the corpus score.

    Document frequencies come from the given references, so a score of part of a split is not comparable with a score
    of the whole split. The function joins the lines inside a caption. An empty prediction scores 0.
    """
    from pycocoevalcap.cider.cider import Cider

    if not predictions:
        return np.zeros(0)
    wanted = {n: [_clean(text) for text in texts] for n, texts in enumerate(references)}
    said = {n: [_clean(text)] for n, text in enumerate(predictions)}
    _, scores = Cider().compute_score(wanted, said)
    return np.asarray(scores, dtype=np.float64)


def _clean(caption: str) -> str:
    return " ".join(caption.split())
