"""Say which words a checkpoint's tokenizer cannot tell apart, because all of them are its unknown token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from bench.model.checkpoints import read_json

_FILE = "tokenizer.json"


class Vocabulary:
    """The words of a checkpoint whose tokenizer has an unknown token and uses it. It loads no torch."""

    def __init__(self, file: Path, unknown: str) -> None:
        from tokenizers import Tokenizer

        self.file = file
        self._tokenizer = Tokenizer.from_file(str(file))
        self._unknown = self._tokenizer.token_to_id(unknown)

    @property
    def size(self) -> int:
        """The number of tokens, with the special ones."""
        return int(self._tokenizer.get_vocab_size())

    def unknown(self, texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the unknown words of each text that has some, in the text's order, each once."""
        asked = list(dict.fromkeys(texts))
        read = zip(asked, self._tokenizer.encode_batch(asked, add_special_tokens=False), strict=True)
        found = {
            text: tuple(dict.fromkeys(_word(text, *span) for span in self._lost(encoded.ids, encoded.offsets)))
            for text, encoded in read
        }
        return {text: words for text, words in found.items() if words}

    def words(self, text: str) -> Iterator[str]:
        """Yield the words of a text, as the tokenizer splits it."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        yield from (_word(text, *span) for span in encoded.offsets)

    def _lost(self, ids: list[int], offsets: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        yield from (span for token, span in zip(ids, offsets, strict=True) if token == self._unknown)


@cache
def vocabulary_of(folder: Path) -> Vocabulary | None:
    """Return the vocabulary of a checkpoint, or None if its tokenizer can write any word.

    A tokenizer without an unknown token, or one that falls back to bytes, can write any word. A checkpoint without
    ``tokenizer.json`` is not examined.

    Raises:
        DataError: ``tokenizer.json`` is damaged.
    """
    try:
        model = read_json(folder / _FILE)["model"]
    except (OSError, KeyError):
        return None
    unknown = model.get("unk_token")
    if not unknown or model.get("byte_fallback"):
        return None
    return Vocabulary(folder / _FILE, str(unknown))


def _word(text: str, start: int, end: int) -> str:
    """Return the whole word around a part of a text."""
    while start > 0 and text[start - 1 : start + 1].isalnum():
        start -= 1
    while end < len(text) and text[end - 1 : end + 1].isalnum():
        end += 1
    return text[start:end].strip()
