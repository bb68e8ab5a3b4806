"""Texts that people and other programs read: aligned columns, CSV, known words, and what may be shared."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

_FORMULA = ("=", "+", "-", "@", "\t", "\n")


def text_table(
    rows: Iterable[Sequence[str]], left: Container[int] = (0,), *, least: Sequence[int] = (), gap: str = "  "
) -> Iterator[str]:
    """Yield one line per row; the columns in ``left`` are left-aligned, the others right-aligned.

    ``least`` holds the minimum widths of the first columns. A row with one cell spans the whole table.

    >>> list(text_table([("method", "Avg"), ("rank 8",), ("lora", "61.2")]))
    ['method   Avg', 'rank 8', 'lora    61.2']
    """
    rows = list(rows)
    columns = zip(*(row for row in rows if len(row) > 1), strict=True)
    widths = [max(pair) for pair in zip_longest((max(map(len, column)) for column in columns), least, fillvalue=0)]
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield (row[0] if len(row) == 1 else gap.join(cells)).rstrip()


def csv_text(frame: DataFrame, float_format: str | None = None) -> str:
    """Return a frame as CSV without its index, in which no text is a formula to a spreadsheet.

    A text or a heading that starts with =, +, -, @, a tab or a line end has an apostrophe before it. Numbers stay.
    Every line end is a line feed.
    """
    harmless = frame.rename(columns=_harmless)
    for name in harmless.select_dtypes(exclude=["number", "bool"]).columns:
        harmless[name] = harmless[name].map(_harmless)
    return harmless.to_csv(index=False, float_format=float_format, lineterminator="\n")


def _harmless(value: object) -> object:
    """Return a text that spreadsheets show and do not compute, or another value as it is."""
    if not isinstance(value, str):
        return value
    # csv writes a carriage return without quotes, so that it would end the line for every reader
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) else text


def counted(count: int, noun: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "cell"), counted(42, "cell")
    ('1 cell', '42 cells')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a mistyped one probably means, in any case; None if none is like it.

    >>> nearest("LoRA", ["dora", "lora"]), nearest("chart", ["lora"])
    ('lora', None)
    """
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return lower[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'NAME'?", or an empty text if no known word is like the mistyped one."""
    return "" if (name := nearest(word, known)) is None else f" Did you mean {name!r}?"


def shareable(text: str) -> str:
    """Return a text for readers elsewhere: without absolute paths, and without users, passwords and private hosts.

    Of an absolute path only the last part stays. Addresses of the web and of object stores keep their host, unless it
    is a number or has no dot; all other addresses lose everything after ``://``. A path with spaces is recognised only
    in quotes.

    >>> shareable("bench run --output /home/ann/runs --storage postgresql://ann:secret@db:5432/bench")
    'bench run --output …/runs --storage postgresql://…'
    >>> shareable("bench export lora --to '/tmp/my adapters' --data s3://ann@bucket/data")
    "bench export lora --to '…/my adapters' --data s3://bucket/data"
    """
    return _PLACE.sub(_without_place, text)


# A host of --address; an address; a file on another host; an absolute path in quotes; or any absolute path, which may
# start with a user's home.
_PLACE = re.compile(
    r"(?P<option>--address[ =])(?!auto\b)\S+"
    r"|(?P<scheme>\b[a-z][a-z0-9+.-]*)://(?P<rest>[^\s'\"<>]*)"
    r"|(?P<remote>\b[\w.-]+@[\w.-]+:[^\s'\"<>]+)"
    r"|(?P<quote>['\"])(?:~[\w.-]*)?/[^'\"\n]*?(?P<named>[^/'\"\n]*)/*(?P=quote)"
    r"|(?<![\w.…/~<-])(?:~[\w.-]*)?/(?:[^\s/'\":;<>]+/+)*(?P<last>[^\s/'\":;<>]+)/*"
)
_WEB = {"http", "https"}
_STORES = {"s3", "gs", "hf", "abfs", "az"}


def _without_place(found: re.Match[str]) -> str:
    if option := found["option"]:
        return f"{option}…"
    if scheme := found["scheme"]:
        return f"{scheme}://{_public(scheme, found['rest'])}"
    if found["remote"]:
        return "…"
    if quote := found["quote"]:
        return f"{quote}…/{found['named']}{quote}"
    return f"…/{found['last']}"


def _public(scheme: str, rest: str) -> str:
    """Return the part of an address after ``://`` without user, password, query and private host."""
    place, slash, path = rest.partition("?")[0].partition("/")
    host = place.rpartition("@")[2]
    if scheme in _WEB:
        private = "." not in host or re.fullmatch(r"[\d.:]+", host) is not None
        return f"{'…' if private else host}{slash}{path}"
    return f"{host}{slash}{path}" if scheme in _STORES else "…"
