"""The command line: parses, calls, prints, exits. Results go to stdout, all else to stderr."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, get_type_hints

from bench.cli.options import Command, add_options, read_options
from bench.errors import BenchError, PluginError, UsageError

_EPILOG = "Exit codes: 0 all good, 1 some trials or checks failed, 2 a mistake in the command, 130 interrupted."


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb. Its function is ``NAME`` in the module ``bench.cli.<file>``; its options are of that function's type."""

    name: str
    text: str
    file: str = ""
    about: str | None = ""
    verbs: tuple[Verb, ...] = ()

    @property
    def description(self) -> str | None:
        """What its help begins with: ``text`` as a sentence, unless ``about`` says more; None, nothing."""
        return f"{self.text[0].upper()}{self.text[1:]}." if self.about == "" else self.about

    @property
    def options(self) -> type[Command]:
        """The type of the verb's argument; the verb's module is imported only if the verb is used."""
        found: type[Command] = get_type_hints(getattr(self._module, self.name))["options"]
        return found

    def run(self, options: Command) -> int:
        """Do what the verb says, and return the exit code."""
        function: Callable[[Command], int] = getattr(self._module, self.name)
        return function(options)

    @property
    def _module(self) -> ModuleType:
        return import_module(f"bench.cli.{self.file or self.name}")


_VERBS = (
    Verb("run", "train, evaluate and rank methods; goes on where it stopped"),
    Verb("search", "tune every method with the same budget, on validation; goes on where it stopped"),
    Verb("study", "run an experiment of the LoRASculpt paper on any suite; ls lists them"),
    Verb("plan", "print what a run would do, what is cached, and what it costs"),
    Verb(
        "data",
        "fetch, check and describe the data of tasks",
        about="Fetch, check and describe the data of tasks. `all` stands for those of the suite lorasculpt.",
        verbs=(
            Verb("get", "fetch what is not there yet; goes on where it stopped", "data", None),
            Verb("check", "look through all records and pictures; exit code 1 where something is wrong", "data", None),
            Verb("info", "print a card: what it is, whose, how large, and how it is asked", "data", None),
        ),
    ),
    Verb("ls", "list methods, tasks, suites, or the trials of a run folder"),
    Verb(
        "leaderboard",
        "print the leaderboard from the run folder",
        about="Print the leaderboard of the last run, or of the cells that the options name.",
    ),
    Verb(
        "compare",
        "put the leaderboard beside a paper's published table, with verdicts",
        about="Put the last run's leaderboard beside a paper's table; refuse what is not comparable.",
    ),
    Verb("show", "print one trial: its scores, cost, command, and what it forgot"),
    Verb("check", "test methods, tasks and reports against the rules of their kind"),
    Verb("doctor", "check versions, GPUs, disks, data, model and services; say what to fix"),
    Verb("export", "write a trial as a peft adapter or a merged model"),
    Verb("clean", "free checkpoints and unreferenced trials, asking first"),
    Verb("theory", "check LoRASculpt's theorems on the density of BA by drawing masks"),
    Verb("pretrain", "build the base model of an embedded suite from scratch"),
    Verb("ui", "open MLflow on this machine to compare runs", "mlflow"),
    Verb("sync", "bring MLflow up to date with the run folder", "mlflow"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        parsed = parse(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        return _complain(error, 2)
    if parsed is None:
        parser().print_help()
        return 0
    logging.basicConfig(level=logging.WARNING, format="bench: %(message)s", stream=sys.stderr)
    logging.getLogger("huggingface_hub").propagate = False  # it writes its warnings itself
    # Where peft only looks for bitsandbytes, that warns of a kernel which nothing here takes.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    verb, options = parsed
    try:
        return verb.run(options)
    except (UsageError, PluginError) as error:
        return _complain(error, 2)
    except BenchError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        print("bench: interrupted; the same command goes on where it stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _complain(error: BenchError, code: int) -> int:
    print(f"bench: {error}", file=sys.stderr)
    return code


def parse(words: Sequence[str]) -> tuple[Verb, Command] | None:
    """Return the verb of a command and its options, or None if there is no verb."""
    parsed = parser().parse_args(words)
    verb: Verb | None = parsed.verb
    return None if verb is None else (verb, read_options(verb.options, parsed, words))


def parser() -> ArgumentParser:
    """Return the parser of the whole command line; its verbs get their options when they are typed."""
    from bench import __version__

    whole = _Parser(
        prog="bench",
        description="Measure what a multimodal LLM forgets when it is fine-tuned, for every method on equal terms.",
        epilog=_EPILOG,
    )
    whole.add_argument("--version", action="version", version=f"bench {__version__}")
    whole.set_defaults(verb=None)
    whole.add_verbs(_VERBS, required=False)
    return whole


class _Parser(ArgumentParser):
    """Takes options by their whole names, and those of a verb only when the verb is typed."""

    def __init__(self, verb: Verb | None = None, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})
        self._verb = verb

    def add_verbs(self, verbs: Sequence[Verb], *, required: bool) -> None:
        """Add verbs, without their options."""
        added = self.add_subparsers(title="commands", metavar="COMMAND", required=required)
        for verb in verbs:
            added.add_parser(verb.name, help=verb.text, description=verb.description, verb=verb)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; a verb gets its options first."""
        verb, self._verb = self._verb, None
        if verb is not None:
            self.set_defaults(verb=verb)
            if verb.verbs:
                self.add_verbs(verb.verbs, required=True)
            else:
                add_options(self, verb.options)
        return super().parse_known_args(args, namespace)
