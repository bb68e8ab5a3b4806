"""Caption scores that equal those of the COCO evaluation: PTB tokens, CIDEr-D, ROUGE-L."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from .cider import cider
from .ptb import ptb_tokens


def score_captions(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Return ``cider`` (0 to 10) and ``rouge_l`` (0 to 1) for each image, [n].

    The means of both are the corpus scores. Document frequencies come from the given references, so a score of part
    of a split is not comparable with a score of the whole split.

    Raises:
        DataError: the tokenizer finds no Java.
    """
    wanted = _tokenized(tuple(tuple(texts) for texts in references))
    said = ptb_tokens(predictions)
    return {"cider": cider(wanted, said), "rouge_l": _rouge_l(wanted, said)}


def _rouge_l(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> np.ndarray:
    from pycocoevalcap.rouge.rouge import Rouge

    scorer = Rouge()
    pairs = zip(references, predictions, strict=True)
    return np.array([scorer.calc_score([said], wanted) for wanted, said in pairs], dtype=np.float64)


@lru_cache(maxsize=4)  # every evaluation in a process scores a split against the same references
def _tokenized(references: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    flat = iter(ptb_tokens([text for texts in references for text in texts]))
    return tuple(tuple(next(flat) for _ in texts) for texts in references)
