"""``bench completion``: print a script with which a shell completes the words of bench."""

from __future__ import annotations

from argparse import ArgumentParser, _SubParsersAction
from dataclasses import dataclass

import shtab

from bench.cli.arguments import Command, arg
from bench.cli.parser import full_parser
from bench.store.places import local_path, place


@dataclass(frozen=True, kw_only=True)
class CompletionOptions(Command):
    """The options of ``bench completion``."""

    shell: str = arg("bash", "the shell (default: bash)", positional=True, nargs="?", choices=shtab.SUPPORTED_SHELLS)


def completion(options: CompletionOptions) -> int:
    """Print the script."""
    whole = full_parser()
    _complete_paths(whole)
    print(shtab.complete(whole, options.shell))
    return 0


def _complete_paths(parser: ArgumentParser) -> None:
    """Let the shell complete the values of the options that name files and folders."""
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for part in action.choices.values():
                _complete_paths(part)
        elif action.type in {local_path, place}:
            setattr(action, "complete", shtab.FILE)  # noqa: B010  shtab reads it from the action
