"""The errors the project raises on purpose.

BenchError
    UsageError      the command asks for something that cannot be done (exit code 2)
    PluginError     a method, task or report breaks its contract
    DataError       a data set is missing, broken or not what it claims to be
    TrialError      a trial could not be finished
    StoreError      the run folder cannot be read or written
        DamagedError    a file of the run folder is there, but not whole; what it held must be made again
        NewerError      a file was written by a newer version, so this one cannot read it
        WriteError      a disk refuses a file; the command stops
            DiskFullError   the disk is full

Every message says what is wrong, gives the value, and says what to do.
"""

from __future__ import annotations

import re
from pathlib import Path

from typing_extensions import override


class BenchError(Exception):
    """The base of every error whose message alone tells the user what to do."""


class UsageError(BenchError):
    """The command asks for something that cannot be done; nothing was started."""


class PluginError(BenchError):
    """A method, task or report breaks its contract."""


class DataError(BenchError):
    """A data set is missing, broken or not what it claims to be."""


class TrialError(BenchError):
    """A trial could not be finished. ``hook`` names the hook of its method that is to blame, if one is."""

    hook = ""


class StoreError(BenchError):
    """The run folder cannot be read or written. Its arguments are sentences: the reason, and what to do."""

    @property
    def reason(self) -> str:
        """The sentence that says what is wrong."""
        return str(self.args[0])

    @override
    def __str__(self) -> str:
        return " ".join(map(str, self.args))


class DamagedError(StoreError):
    """A file of the run folder is not whole. Another attempt to read it would fail too."""


class NewerError(StoreError):
    """A file of the run folder was written by a newer version of retain-bench. It is whole, and must stay as it is."""


class Gone(SystemExit):
    """Another process that this one cannot work without is gone. No trial is to blame, and this process ends."""


class WriteError(StoreError):
    """A disk refuses a file. The command stops, because what it does next could not be stored either."""


class DiskFullError(WriteError):
    """The disk is full, or a quota of it is used up."""


def without_password(text: str) -> str:
    """Strip user names and passwords from the URLs in a text."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def one_line(error: BaseException) -> str:
    """Return 300 characters of an error without line breaks or passwords; an empty text gives the class name."""
    text = without_password(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} …"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; an empty text gives the class name."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def unreadable(path: Path, error: BaseException) -> str:
    """Return the message for a file or folder that cannot be read now; it may be whole, so it must not be deleted."""
    reason = f"{without_password(str(path))} cannot be read ({one_line(error)})."
    return f"{reason} Check its permissions, its disk and the network, then run the same command again."
