"""The parser of the whole command line."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Iterator, Sequence
from typing import Any

from bench.cli.arguments import Command, add_options, read_options, titled_fields
from bench.cli.config_file import Kept, with_file
from bench.cli.line_parser import LineParser
from bench.cli.verbs import GROUPS, VERBS, Verb, leaves
from bench.errors import UsageError
from bench.text import did_you_mean

_EXIT_CODES = """Exit codes: 0 success; 1 a trial or a check failed, or the command was stopped by its disk or data;
2 the command or a plugin has a mistake; 130 interrupted."""
_MANY = 8  # a synopsis names the options of a verb if there are at most so many


def parse(words: Sequence[str]) -> tuple[Verb, Command] | None:
    """Return the verb of a command and its options, with those of ``--config``; None if there is no verb.

    Raises:
        UsageError: a word is not one that the verb takes, or a value is not possible.
    """
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    _check_verbs(words, VERBS, "bench")
    parsed, unknown = whole_parser().parse_known_args(words)
    verb: Verb | None = parsed.verb
    if unknown:
        raise _unknown_word(unknown[0], verb)
    if verb is None:
        return None
    options = read_options(verb.options, parsed, words)
    if isinstance(options, Kept) and options.config is not None:
        return parse(with_file(words, options, _with_files()))
    return verb, options


def _with_files() -> Iterator[type[Command]]:
    """Yield the options of every verb that reads a file of options."""
    for _, verb in leaves():
        if issubclass(verb.options, Kept):
            yield verb.options


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
    name, command = word.partition("=")[0], next(f"bench {words}" for words, each in leaves() if each is verb)
    if not name.startswith("-"):
        return UsageError(f"{command} does not take {word!r}. {command} --help lists what it takes.")
    own = ArgumentParser(add_help=False)
    add_options(own, verb.options)
    known = [option for action in own._actions for option in action.option_strings]
    if name in known:
        return UsageError(f"{name} comes after the command. Write {command} {name}.")
    return UsageError(f"{command} has no option {name}.{did_you_mean(name, known)} {command} --help lists all options.")


def full_parser() -> ArgumentParser:
    """Return the parser of the whole command line with the options of every verb."""
    whole = whole_parser(told=True)
    whole.grow_verbs()
    return whole


def whole_parser(*, told: bool = False) -> _Parser:
    """Return the parser of the whole command line; a verb gets its options only when it is parsed.

    A ``told`` one lists its verbs as argparse does, for programs that read it, instead of in groups.
    """
    from bench import __version__

    whole = _Parser(
        prog="bench",
        usage="bench [-h] [--version] COMMAND ...",
        description="Measure what a multimodal LLM forgets when it is fine-tuned, with every method on equal terms.\n\n"
        + "\n".join(_listed()),
        epilog=f"bench COMMAND --help shows a command's options and examples.\n\n{_EXIT_CODES}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"bench {__version__}")
    whole.set_defaults(verb=None)
    verbs = whole.add_subparsers(prog="bench", metavar="COMMAND", help=None if told else SUPPRESS)
    for verb in VERBS:
        text: dict[str, Any] = {"help": verb.text} if told else {}
        verbs.add_parser(verb.name, description=verb.description, verb=verb, **text)
    return whole


def _listed() -> Iterator[str]:
    """Yield the lines of the help that list all verbs, by what a user wants to do."""
    width = max(len(verb.name) for verb in VERBS) + 2
    for title, verbs in GROUPS.items():
        yield f"{title}:"
        yield from (f"  {verb.name:{width}}{verb.text}" for verb in verbs)
        yield ""


class _Parser(LineParser):
    """A parser that accepts only whole option names, and adds a verb's options when it is parsed."""

    def __init__(self, verb: Verb | None = None, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})
        self._verb = verb
        if verb is not None and verb.examples:
            self.formatter_class = RawDescriptionHelpFormatter
            self.epilog = "\n".join(["examples:", *(f"  {line}" for line in verb.examples)])

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the verb's options, then parse."""
        self.grow()
        return super().parse_known_args(args, namespace)

    def grow_verbs(self) -> None:
        """Add the options of all verbs."""
        for action in self._actions:
            if isinstance(action, _SubParsersAction):
                for part in action.choices.values():
                    part.grow()
                    part.grow_verbs()

    def grow(self) -> None:
        """Add the options of the verb, or the words that may follow it, if they are not there yet."""
        verb, self._verb = self._verb, None
        if verb is None:
            return
        self.set_defaults(verb=verb)
        if verb.verbs:
            verbs = self.add_subparsers(title="commands", metavar="COMMAND", required=True)
            for part in verb.verbs:
                verbs.add_parser(part.name, help=part.text, description=part.description, verb=part)
            return
        add_options(self, verb.options)
        if len(titled_fields(verb.options)) > _MANY:
            places = [action for action in self._actions if not action.option_strings]
            self.usage = " ".join(["%(prog)s [OPTION ...]", *(argument_text(action) for action in places)])


def argument_text(place: Action) -> str:
    """Return a positional argument as the synopsis of a verb names it."""
    name = str(place.metavar or place.dest)
    if place.choices and not place.metavar:
        name = f"{{{','.join(map(str, place.choices))}}}"
    return {"+": f"{name} [{name} ...]", "?": f"[{name}]", "*": f"[{name} ...]"}.get(str(place.nargs), name)
