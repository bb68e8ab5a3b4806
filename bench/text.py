"""Texts that people and other programs read: aligned columns, CSV, known words, and what may be shared."""

from __future__ import annotations

import difflib
import getpass
import ipaddress
import re
import socket
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
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

    Of an absolute path only the last part stays, and a home folder is ``~``. Addresses of the web and of object stores
    keep their host, unless it is a number, has no dot or ends as private networks do; all other addresses lose
    everything after ``://``. A path with spaces is recognised only in quotes, or if one is in a home folder's name.

    >>> shareable("bench run --output /home/ann/runs --storage postgresql://ann:secret@db:5432/bench")
    'bench run --output …/runs --storage postgresql://…'
    >>> shareable("bench export lora --to '/tmp/my adapters' --data s3://ann@bucket/data")
    "bench export lora --to '…/my adapters' --data s3://bucket/data"
    """
    return _PLACE.sub(_without_place, _HOMES.sub("~", _without_home(text)))


def shareable_reason(text: str) -> str:
    """Return why something failed for readers elsewhere: such a text is written by others, and may name anything.

    It is ``shareable``, and has no IP address, no host with a port, and neither the user nor the host of this process.
    A command must not lose such words: a user may have the name of a method.

    >>> shareable_reason("lost 10.0.0.3:6379 (host='db', user=ann password=hunter2): cannot write /home/ann lee/x")
    'lost … (host=…, user=… password=…): cannot write …/x'
    """
    text = shareable(_QUOTED.sub(r"\1 …", _STATED.sub(r"\1\2…", text)))
    text = _IPV6.sub(lambda found: "…" if _is_address(found[0]) else found[0], text)
    text = _HOST.sub("…", _IPV4.sub("…", text))
    for name in sorted({*_users(), *_hosts()}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return text


_WORD = r"[^\s/'\":;<>]"  # of a path that is not in quotes
_BEGINS = r"(?<![\w.…/~<-])"  # no path goes on here
_PRIVATE = r"(?:local|localdomain|internal|intranet|lan|corp|home|private|cluster)"  # ends of names in private networks

# The home of any user, whose name may have one space; what follows it stays.
_HOMES = re.compile(rf"{_BEGINS}/(?:home|Users)/{_WORD}*[^\s/'\":;<>.,)](?: {_WORD}+(?=/))?")
# A host of --address; an address; a file on another host; an absolute path in quotes; or any absolute path, which may
# start with a user's home.
_PLACE = re.compile(
    r"(?P<option>--address[ =])(?!auto\b)\S+"
    r"|(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s'\"<>]*)"
    r"|(?P<remote>\b[\w.-]+@[\w.-]+:[^\s'\"<>]+)"
    r"|(?P<quote>['\"])(?P<whole>(?:~[\w.-]*)?/[^'\"\n]*?(?P<named>[^/'\"\n]*)/*)(?P=quote)"
    rf"|{_BEGINS}(?:~[\w.-]*)?/(?:{_WORD}+/+)*(?P<last>{_WORD}+)/*"
)
_WEB = {"http", "https"}
_STORES = {"s3", "gs", "hf", "abfs", "az"}

# What errors of databases and sockets say: host='db', user "ann", password=hunter2.
_STATED = re.compile(
    r"\b(host(?:name|addr)?|user(?:name)?|passwd|password|pwd|api_key|access_token)(\s?=\s?)"
    r"(?:'[^']*'|\"[^\"]*\"|[^\s'\",;()&]+)"
)
_QUOTED = re.compile(r"\b(user|role|host|server at)\s(?:'[^']+'|\"[^\"]+\")")
_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = re.compile(rf"(?<![\w.])(?:{_BYTE}\.){{3}}{_BYTE}(?::\d+)?(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
# A name with a port, unless it is a line of a file of code; or a name in a private network, unless Python has it.
_CODE = "".join(rf"(?<!\.{end})" for end in ("py", "pyx", "c", "cc", "cpp", "h", "hpp", "cu", "cuh", "rs"))
_HOST = re.compile(
    rf"(?<![\w.…/-])(?:[A-Za-z][A-Za-z\d-]*(?:\.[\w-]+)*{_CODE}:\d{{4,5}}"
    rf"|(?!threading\.local\b|(?:sklearn|scipy)\.cluster\b)[A-Za-z0-9][\w-]*(?:\.[\w-]+)*\.{_PRIVATE}(?::\d+)?)(?!\w)"
)
_SHARED = {"root", "user", "ubuntu", "admin", "docker", "runner", "ray", "nobody", "jovyan", "app", "localhost"}


def _without_home(text: str) -> str:
    """Return a text in which the home folder of this process's user is ``~``, whatever is in its name."""
    home = str(Path("~").expanduser()).rstrip("/")
    return re.sub(rf"{_BEGINS}{re.escape(home)}(?![\w-]|\.\w)", "~", text) if home.startswith("/") else text


def _users() -> set[str]:
    """Return the names of this process's user, except accounts that many machines have."""
    with suppress(OSError, KeyError, ImportError):  # a container may have no name for it
        return {name for name in (getpass.getuser(), Path.home().name) if len(name) > 1} - _SHARED
    return set()


def _hosts() -> set[str]:
    """Return the name of this host, also without its network."""
    name = socket.gethostname()
    return {part for part in (name, name.partition(".")[0]) if len(part) > 1} - _SHARED


def _is_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _without_place(found: re.Match[str]) -> str:
    if option := found["option"]:
        return f"{option}…"
    if scheme := found["scheme"]:
        return f"{scheme}://{_public(scheme.lower(), found['rest'])}"
    if found["remote"]:
        return "…"
    if quote := found["quote"]:
        return f"{quote}{_end(found['whole'], found['named'])}{quote}"
    return _end(found[0], found["last"])


def _end(path: str, last: str) -> str:
    """Return the last part of an absolute path, unless it is a user: in /lustre/home/ann, or by its name."""
    above = path.rstrip("/").rpartition("/")[0].rpartition("/")[2]
    return "…" if above in {"home", "users", "Users"} or last in _users() else f"…/{last}"


def _public(scheme: str, rest: str) -> str:
    """Return the part of an address after ``://`` without user, password, query and private host."""
    place, slash, path = rest.partition("?")[0].partition("/")
    host = place.rpartition("@")[2]
    if scheme in _WEB:
        name = host.partition(":")[0]
        private = "." not in host or re.fullmatch(rf"[\d.:]+|.*\.{_PRIVATE}", name) is not None
        return f"{'…' if private else host}{slash}{path}"
    return f"{host}{slash}{path}" if scheme in _STORES else "…"
