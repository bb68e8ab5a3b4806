"""Write the page of the command line: ``python docs/command_line_page.py`` writes command-line.md from the parsers."""

from __future__ import annotations

import re
import textwrap
from argparse import SUPPRESS, Action, ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from bench.cli.parser import argument_text, full_parser
from bench.cli.verbs import GROUPS, Verb

PAGE = Path(__file__).parent / "command-line.md"

_HEAD = """\
# The command line

`make pages` writes this page from the parsers of `bench`. `bench --help` lists the commands, and `bench COMMAND --help`
the options of one. [Running the benchmark](running.md#the-main-options) says what the main options are for, and [What
was not run](what-was-not-run.md) which commands no test carries out.
"""
_DEFAULT = re.compile(r"(?:;| \()\s*default: ((?:[^()]|\([^()]*\))+?)\)?$")


def page() -> str:
    """Return the page of the parsers as they are now."""
    whole = full_parser()
    verbs = list(_verbs(whole, ("bench",)))
    return "\n".join([_HEAD, *_lists(verbs), *(_section(*each) for each in verbs), _ending(whole)])


def _lists(verbs: list[tuple[str, Verb, ArgumentParser]]) -> Iterator[str]:
    """Yield a table of the commands of each group."""
    for title, members in GROUPS.items():
        names = {verb.name for verb in members}
        found = [(path, verb) for path, verb, _ in verbs if path.split()[1] in names]
        rows = [(f"[`{path}`](#{path.replace(' ', '-')})", _marked(verb.text)) for path, verb in found]
        yield _table((title, ""), rows)


def _verbs(parser: ArgumentParser, path: tuple[str, ...]) -> Iterator[tuple[str, Verb, ArgumentParser]]:
    """Yield the path, the verb and the parser of every command, the parsers with their options."""
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for name, found in action.choices.items():
                verb: Verb = found.get_default("verb")
                if verb.verbs:
                    yield from _verbs(found, (*path, name))
                else:
                    yield " ".join((*path, name)), verb, found


def _section(path: str, verb: Verb, parser: ArgumentParser) -> str:
    """Return what a page says of one command."""
    parts = [f"## {path}\n", _wrapped(parser.description or f"{verb.text[0].upper()}{verb.text[1:]}.")]
    parts.append(f"```text\n{_synopsis(path, parser)}\n```\n")
    parts.append("\n".join(["```console", *(f"$ {line}" for line in verb.examples), "```", ""]))
    defaults = {item.name: item.default for item in fields(verb.options)}
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if _is_shown(action)]
        arguments = [_row(action, defaults)[:2] for action in shown if not action.option_strings]
        options = [_row(action, defaults) for action in shown if action.option_strings]
        if shown and group.title not in ("positional arguments", "options"):
            parts.append(f"**{str(group.title)[0].upper()}{str(group.title)[1:]}**\n")
        parts += [_table(("argument", "means"), arguments)] if arguments else []
        parts += [_table(("option", "means", "default"), options)] if options else []
    return "\n".join(parts)


def _is_shown(action: Action) -> bool:
    return action.help is not SUPPRESS and action.dest != "help"


def _synopsis(path: str, parser: ArgumentParser) -> str:
    """Return how a command is typed. argparse's own usage depends on the version of Python and on the width."""
    words = [path]
    words += [argument_text(each) for each in parser._actions if not each.option_strings and _is_shown(each)]
    for group in parser._mutually_exclusive_groups:
        words.append(f"({' | '.join(_typed(action) for action in group._group_actions)})")
    return " ".join([*words, "[OPTION ...]"])


def _typed(action: Action) -> str:
    """Return an argument, or an option with its value, as it is typed."""
    value = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())
    if not action.option_strings:
        return value
    name = action.option_strings[0]
    return name if action.nargs == 0 else f"{name} {f'[{value}]' if action.nargs == '?' else value}"


def _row(action: Action, defaults: dict[str, Any]) -> tuple[str, str, str]:
    """Return an option, what it means, and its default: what the help says, else the value of its field."""
    text = str(action.help)
    value = defaults.get(action.dest, MISSING)
    known = "" if value is MISSING or value is None or value is False or value == () else str(value)
    said = _DEFAULT.search(text)
    typed = _typed(action).replace("|", "\\|")
    return f"`{typed}`", _marked(text[: said.start()] if said else text), _marked(said[1] if said else known)


def _marked(text: str) -> str:
    """Return a help text as Markdown, with the options that it names as code."""
    safe = re.sub(r"([|*<])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<![`\w-])(--[a-z][a-z-]*[a-z])", r"`\1`", safe)


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = (f"| {' | '.join(line)} |".replace("|  |", "| |") for line in (head, *rows))
    return "\n".join([next(lines), "|---" * len(head) + "|", *lines, ""])


def _wrapped(text: str) -> str:
    return textwrap.fill(_marked(text), 120, break_long_words=False, break_on_hyphens=False) + "\n"


def _ending(whole: ArgumentParser) -> str:
    """Return what holds for all commands."""
    return f"## Exit codes\n\n{_wrapped(str(whole.epilog).partition('Exit codes: ')[2])}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
