"""Commands as they are typed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TypeVar

from bench.cli.arguments import Command, add_options, read_options

Options = TypeVar("Options", bound=Command)


def typed(options: type[Options], *words: str) -> Options:
    """Return the options of a verb that was typed with these words."""
    parser = ArgumentParser()
    add_options(parser, options)
    return read_options(options, parser.parse_args(words), words)
