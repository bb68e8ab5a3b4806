"""Parse a command, run it, and return its exit code. Results go to stdout, all else to stderr."""

from __future__ import annotations

import io
import locale
import logging
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from bench.cli.arguments import Command, add_options, read_options
from bench.errors import BenchError, DiskFullError, PluginError, UsageError
from bench.plugins.guard import guarded, interrupts
from bench.store.disk_errors import refusal
from bench.text import did_you_mean

_EPILOG = (
    "Exit codes: 0 success, 1 a trial or a check failed or the command was stopped by its disk or data, "
    "2 the command or a plugin has a mistake, 130 interrupted."
)


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of bench. Its function NAME is in the module ``bench.cli.<file>``."""

    name: str
    text: str
    file: str = ""
    about: str | None = ""
    verbs: tuple[Verb, ...] = ()

    @property
    def description(self) -> str | None:
        """The first paragraph of the verb's help: ``about``, or ``text`` as a sentence if ``about`` is empty."""
        return f"{self.text[0].upper()}{self.text[1:]}." if self.about == "" else self.about

    @property
    def options(self) -> type[Command]:
        """The type of the argument of the verb's function, whose module is imported only if the verb is used."""
        found: type[Command] = get_type_hints(self.function)["options"]
        return found

    @property
    def function(self) -> Callable[[Command], int]:
        """The verb's function, which returns the exit code."""
        function: Callable[[Command], int] = getattr(import_module(f"bench.cli.{self.file or self.name}"), self.name)
        return function


_VERBS = (
    Verb("run", "train, evaluate and rank methods; resumes where it stopped"),
    Verb("search", "tune every method with the same budget on validation; resumes where it stopped"),
    Verb("sequence", "learn several tasks one after another, and show what each costs the earlier ones; resumes"),
    Verb("study", "run an experiment of a paper on any suite; `study ls` lists them"),
    Verb("plan", "print what a run would do, what is cached, and what the run costs"),
    Verb(
        "data",
        "download, check and describe the data of tasks",
        about="Download, check and describe the data of tasks. `all` means the tasks of the suite lorasculpt.",
        verbs=(
            Verb("get", "download the files that are missing; resumes where it stopped", "data", None),
            Verb("check", "check all records and images; exit with code 1 if something is wrong", "data", None),
            Verb("info", "print a task's card: content, source, size, metric and prompts", "data", None),
        ),
    ),
    Verb("ls", "list methods, tasks, suites, or the trials or runs of a run folder"),
    Verb(
        "leaderboard",
        "print the leaderboard of the run folder",
        about="Print the leaderboard of the run with the most finished cells, or of the cells that the options name; "
        "with --run also the tables of a sequence.",
    ),
    Verb(
        "report",
        "write the report page of a run again, and print its path",
        about="Write the report page of the run with the most finished cells, or of the run that --run names, and "
        "print its path. Open it in a browser.",
    ),
    Verb(
        "compare",
        "compare a run or a sequence with a paper's published table, and give verdicts",
        about="Compare a run or a sequence with a paper's table; refuse what is not comparable.",
    ),
    Verb("show", "print one trial: its scores, cost, command, and what it forgot"),
    Verb("check", "check methods, tasks and reports against their contracts"),
    Verb("doctor", "check versions, GPUs, disks, data, model and services; say what to fix"),
    Verb("export", "write a trial as a peft adapter or a merged model"),
    Verb("publish", "gather a run as a folder to publish, or upload it to a hub"),
    Verb("clean", "delete leftovers, and with --trials finished trials that nothing needs, after asking"),
    Verb("theory", "test LoRASculpt's theorems on the density of BA with random masks"),
    Verb("pretrain", "build a base model that comes with the package, such as micro's, from scratch"),
    Verb("ui", "open MLflow on this machine to compare runs", "mlflow"),
    Verb("sync", "update MLflow from the run folder", "mlflow"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without ``arguments``, this process is the command."""
    if arguments is None:
        _read_and_write_utf8()
    logging.basicConfig(level=logging.WARNING, format="bench: %(message)s", stream=sys.stderr)
    logging.getLogger("huggingface_hub").propagate = False  # the hub's client prints its warnings itself
    # bitsandbytes warns about a missing kernel as soon as peft imports it; we do not use that kernel.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    options = None
    try:
        parsed = parse(_whole_words(sys.argv[1:] if arguments is None else arguments))
        if parsed is None:
            parser().print_help()
            return 0
        verb, options = parsed
        with interrupts(), guarded():
            return verb.function(options)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        known = _told(error, getattr(options, "output", None))
        if known is None:
            raise
        print(f"bench: {known}", file=sys.stderr)
        return 2 if isinstance(known, UsageError | PluginError) else 1
    except KeyboardInterrupt:
        print("bench: interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130


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


def parse(words: Sequence[str]) -> tuple[Verb, Command] | None:
    """Return the verb of a command and its options, or None if there is no verb."""
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    _check_verbs(words, _VERBS, "bench")
    parsed, unknown = parser().parse_known_args(words)
    verb: Verb | None = parsed.verb
    if unknown:
        raise _unknown_word(unknown[0], verb)
    return None if verb is None else (verb, read_options(verb.options, parsed, words))


def _check_verbs(words: Sequence[str], verbs: Sequence[Verb], path: str) -> None:
    """Refuse a verb that does not exist, and say which one is probably meant."""
    if not words or words[0].startswith("-"):
        return
    found = next((verb for verb in verbs if verb.name == words[0]), None)
    if found is None:
        hint = did_you_mean(words[0], [verb.name for verb in verbs])
        raise UsageError(f"{path} has no command {words[0]!r}.{hint} {path} --help lists all commands.")
    if found.verbs:
        _check_verbs(words[1:], found.verbs, f"{path} {found.name}")


def _unknown_word(word: str, verb: Verb | None) -> UsageError:
    """Return the error for a word that a verb does not take."""
    if verb is None:
        return UsageError(f"bench has no option {word}. bench --help lists what it has.")
    name, command = word.partition("=")[0], " ".join(["bench", *(v.name for v in _VERBS if verb in v.verbs), verb.name])
    if not name.startswith("-"):
        return UsageError(f"{command} does not take {word!r}. {command} --help lists what it takes.")
    own = ArgumentParser(add_help=False)
    add_options(own, verb.options)
    known = [option for action in own._actions for option in action.option_strings]
    return UsageError(f"{command} has no option {name}.{did_you_mean(name, known)} {command} --help lists all options.")


def parser() -> ArgumentParser:
    """Return the parser of the whole command line; a verb gets its options only when it is parsed."""
    from bench import __version__

    whole = _Parser(
        prog="bench",
        description="Measure what a multimodal LLM forgets when it is fine-tuned, with every method on equal terms.",
        epilog=_EPILOG,
    )
    whole.add_argument("--version", action="version", version=f"bench {__version__}")
    whole.set_defaults(verb=None)
    whole.add_verbs(_VERBS, required=False)
    return whole


class _Parser(ArgumentParser):
    """A parser that accepts only whole option names, and adds a verb's options when it is parsed."""

    def __init__(self, verb: Verb | None = None, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})
        self._verb = verb

    def add_verbs(self, verbs: Sequence[Verb], *, required: bool) -> None:
        """Add verbs without their options."""
        added = self.add_subparsers(title="commands", metavar="COMMAND", required=required)
        for verb in verbs:
            added.add_parser(verb.name, help=verb.text, description=verb.description, verb=verb)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the verb's options, then parse."""
        verb, self._verb = self._verb, None
        if verb is not None:
            self.set_defaults(verb=verb)
            if verb.verbs:
                self.add_verbs(verb.verbs, required=True)
            else:
                add_options(self, verb.options)
        return super().parse_known_args(args, namespace)
