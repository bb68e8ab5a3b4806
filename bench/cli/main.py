"""Parse a command, run it, and return its exit code. Results go to stdout, all else to stderr."""

from __future__ import annotations

import gc
import io
import locale
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench.cli.arguments import Command
from bench.cli.config_file import Kept, save_config
from bench.cli.parser import parse, whole_parser
from bench.cli.verbs import Verb
from bench.console import be_quiet
from bench.errors import BenchError, DiskFullError, PluginError, UsageError
from bench.plugins.guard import guarded, interrupts
from bench.store.disk_errors import refusal

_OBJECTS = 100_000  # new ones, after which Python looks for garbage; libraries and plans make millions that stay


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without ``arguments``, this process is the command."""
    if arguments is not None:
        return _carried_out(arguments)
    _read_and_write_utf8()
    gc.set_threshold(_OBJECTS)
    try:
        return _carried_out(sys.argv[1:])
    finally:
        gc.freeze()  # the process ends: without this, Python looks for garbage in all that torch has loaded


def _carried_out(words: Sequence[str]) -> int:
    """Run one command, print what went wrong in one line, and return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="bench: %(message)s", stream=sys.stderr)
    logging.getLogger("huggingface_hub").propagate = False  # the hub's client prints its warnings itself
    # bitsandbytes warns about a missing kernel as soon as peft imports it; we do not use that kernel.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    options = None
    try:
        parsed = parse(_whole_words(words))
        if parsed is None:
            whole_parser().print_help()
            return 0
        verb, options = parsed
        return _run(verb, options)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        known = _told(error, getattr(options, "output", None))
        if known is None:
            raise
        if options is not None and options.verbose and not isinstance(known, UsageError):
            traceback.print_exception(error)
        print(f"bench: {known}", file=sys.stderr)
        return 2 if isinstance(known, UsageError | PluginError) else 1
    except KeyboardInterrupt:
        print("bench: interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130


def _run(verb: Verb, options: Command) -> int:
    """Run one command, or only write its options to a file, and return its exit code."""
    _set_messages(options)
    if isinstance(options, Kept) and options.save_config is not None:
        save_config(options)
        return 0
    with interrupts(), guarded():
        return verb.function(options)


def _set_messages(options: Command) -> None:
    """Let --quiet and --verbose take effect.

    Raises:
        UsageError: both are given.
    """
    if options.quiet and options.verbose:
        raise UsageError("--quiet and --verbose exclude each other. Drop one.")
    be_quiet(options.quiet)
    logging.getLogger().setLevel(logging.INFO if options.verbose else logging.WARNING)


def _told(error: Exception, output: Path | None) -> BenchError | None:
    """Return the error whose message is printed: an error of this project, or that a disk takes no more files."""
    found = refusal(error, output)
    if isinstance(error, BenchError):
        return found if isinstance(found, DiskFullError) else error
    return found


def _read_and_write_utf8() -> None:
    """Start the command again in Python's UTF-8 mode if the locale has another encoding.

    Our own code names an encoding whenever it opens a file. But the words of a command, the names of files, libraries
    and the processes of lanes use the locale's encoding, and a run folder must have the same bytes under every locale.
    A character that stdout cannot write is written as its number.
    """
    if sys.flags.utf8_mode:
        os.environ["PYTHONUTF8"] = "1"  # for the processes of lanes
    elif os.name == "posix" and locale.getencoding().lower() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _whole_words(words: Sequence[str]) -> Sequence[str]:
    """Return the words of a command, or raise UsageError if one cannot be written to a file."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{word!a} is not UTF-8. Write it in UTF-8; if it names a file, rename the file."
            ) from None
    return words
