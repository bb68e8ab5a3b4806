"""Options as frozen dataclasses: each field holds the name, type, default and help of one option."""

from __future__ import annotations

import os
import re
import shlex
from argparse import SUPPRESS, ArgumentParser, Namespace, _ActionsContainer
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from inspect import get_annotations
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from bench.errors import UsageError
from bench.store.places import local_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Options = TypeVar("Options", bound="Command")

FILE_SECTION, MESSAGE_SECTION = "a run in a file", "messages"  # the help shows these sections last

_EITHER = "either"
_LATE: dict[str | None, int] = {FILE_SECTION: 1, MESSAGE_SECTION: 2}
_LONGEST_RANGE = 1000
_OWN = {"group", "least", "name", "positional", "variable"}  # settings of a field that argparse does not know


def arg(default: T, text: str, metavar: str | None = None, **settings: object) -> T:
    """Return a field for an option, with ``settings`` for ``add_argument``.

    The option's value is a number if ``default`` is one. Five settings are not argparse's: ``name`` (if it differs
    from the field's), ``group`` (the title of the option's section in the help, if it is not its class's ``section``),
    ``least`` (the smallest number that is allowed), ``variable`` (the environment variable that replaces the default)
    and ``choices`` as a function.
    """
    known = {"type": type(default)} if isinstance(default, int | float) else {}
    found: T = field(default=default, metadata={"help": text, "metavar": metavar, **known, **settings})
    return found


def flag(text: str, **settings: object) -> bool:
    """Return a field for an option without a value."""
    found: bool = field(default=False, metadata={"help": text, "action": "store_true", **settings})
    return found


def several(text: str, metavar: str, type: Callable[[str], T]) -> tuple[T, ...]:
    """Return a field for an option that may be given several times."""
    return arg((), text, metavar, action="append", type=type)


def word(text: str, metavar: str) -> str:
    """Return a field for a required positional argument."""
    found: str = field(metadata={"help": text, "metavar": metavar, "positional": True})
    return found


def either(text: str, metavar: str) -> Path | None:
    """Return a field for one of several options, of which a command must give exactly one."""
    return arg(None, text, metavar, type=local_path, group=_EITHER)


def ranges(text: str) -> str:
    """Return a list of whole numbers with its ranges written out; another text stays as it is.

    >>> ranges("0-4"), ranges("16,32"), ranges("0,2-3"), ranges("4-0")
    ('0,1,2,3,4', '16,32', '0,2,3', '4-0')
    """
    return re.sub(r"(?<![\w.-])(\d{1,6})-(\d{1,6})(?![\w.-])", _written_out, str(text))


def _written_out(found: re.Match[str]) -> str:
    first, last = int(found[1]), int(found[2])
    return ",".join(map(str, range(first, last + 1))) if 0 <= last - first < _LONGEST_RANGE else found[0]


def split_list(option: str, text: str, read: Callable[[str], T], wanted: str) -> tuple[T, ...]:
    """Return the values of a list with commas, each once; ``read`` raises a ValueError for a word that is wrong.

    Raises:
        UsageError: the list is empty, or has a word that is wrong; the message says what is ``wanted``.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"{option} is empty; give {wanted}.")
    found = []
    for part in parts:
        try:
            found.append(read(part))
        except ValueError:
            raise UsageError(f"{option} has {part!r}; give {wanted}.") from None
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command as it was typed: its words, and the names of the options that were given.

    The help leaves out the options of ``hidden``, which the command knows only to refuse them. It shows the options of
    a class under the title ``section``.
    """

    hidden: ClassVar[tuple[str, ...]] = ()
    section: ClassVar[str | None] = MESSAGE_SECTION

    quiet: bool = flag("print results, warnings and errors, and nothing else", name=("--quiet", "-q"))
    verbose: bool = flag("print tracebacks of errors, and what the libraries log", name=("--verbose", "-v"))
    words: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command as one line that a shell reads."""
        return shlex.join(["bench", *self.words])

    def chosen(self, options: type[DataclassInstance]) -> list[str]:
        """Return the names of a class's options that were typed."""
        return [item.name for item in fields(options) if item.name in self.typed]


def add_options(parser: ArgumentParser, options: type[Command]) -> None:
    """Add the options of a class to a parser. An option that is not typed keeps its field's default.

    The fields of the last base come first, so list the bases of a class in reverse order.
    """
    groups: dict[str | None, _ActionsContainer] = {None: parser}
    for title, item in titled_fields(options):
        settings = {name: value for name, value in item.metadata.items() if name not in _OWN}
        if title not in groups:
            exclusive = title == _EITHER
            groups[title] = (
                parser.add_mutually_exclusive_group(required=True) if exclusive else parser.add_argument_group(title)
            )
        if callable(settings.get("choices")):
            settings["choices"] = settings["choices"]()
        if item.name in options.hidden:
            settings["help"] = SUPPRESS
        if item.metadata.get("positional"):
            groups[title].add_argument(item.name, default=item.default, **settings)
        else:
            groups[title].add_argument(*_names(item), dest=item.name, default=SUPPRESS, **settings)


def titled_fields(options: type[Command]) -> list[tuple[str | None, Field[Any]]]:
    """Return the fields of a class that are options or arguments, with the titles of their sections in the help."""
    found = [(_title(options, item), item) for item in fields(options) if item.metadata]
    return sorted(found, key=lambda each: _LATE.get(each[0], 0))


def _title(options: type[Command], item: Field[Any]) -> str | None:
    """Return the title of an option's section: its own, or that of the class which adds it."""
    if item.metadata.get("positional") or "group" in item.metadata:
        return item.metadata.get("group")
    owners = (owner for owner in options.__mro__ if item.name in get_annotations(owner) and "section" in vars(owner))
    return next((vars(owner)["section"] for owner in owners), None)


def _names(item: Field[Any]) -> tuple[str, ...]:
    """Return an option's names on the command line."""
    names = item.metadata.get("name", f"--{item.name.replace('_', '-')}")
    return (names,) if isinstance(names, str) else tuple(names)


def option_name(item: Field[Any]) -> str:
    """Return the first of an option's names on the command line."""
    return _names(item)[0]


def read_options(options: type[Options], parsed: Namespace, words: Sequence[str]) -> Options:
    """Return the parsed options as an instance of their class.

    Raises:
        UsageError: a number is smaller than the least that its option allows.
    """
    known = {item.name: item for item in fields(options)}
    typed = {name: value for name, value in vars(parsed).items() if name in known}
    given = {name: item for name, item in known.items() if os.environ.get(item.metadata.get("variable", ""))}
    for name, value in typed.items():
        least = known[name].metadata.get("least")
        if least is not None and value < least:
            wanted = f"at least {least}" if least else "0 or more"
            raise UsageError(f"{option_name(known[name])} is {value}; give {wanted}.")
    values = {name: item.metadata["type"](os.environ[item.metadata["variable"]]) for name, item in given.items()}
    values |= {name: tuple(value) if isinstance(value, list) else value for name, value in typed.items()}
    return options(**values, words=tuple(words), typed=tuple(typed))


def words_of(options: DataclassInstance, names: Iterable[str]) -> list[str]:
    """Return the words that set the named options to their current values."""
    known, words = {item.name: item for item in fields(options)}, []
    for name in names:
        item, value = known[name], getattr(options, name)
        alone = value is True or (value is not None and value == item.metadata.get("const"))
        for each in value if isinstance(value, tuple) else (value,):
            words += [option_name(item)] if alone else [option_name(item), str(each)]
    return words
