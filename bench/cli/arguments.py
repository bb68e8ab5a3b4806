"""Options as frozen dataclasses: each field holds the name, type, default and help of one option."""

from __future__ import annotations

import re
from argparse import SUPPRESS, ArgumentParser, Namespace, _ActionsContainer
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from bench.errors import UsageError
from bench.store.places import local_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Options = TypeVar("Options", bound="Command")

_EITHER = "either"
_LONGEST_RANGE = 1000
_OWN = {"group", "least", "name", "positional"}  # settings of a field that argparse does not know


def arg(default: T, text: str, metavar: str | None = None, **settings: object) -> T:
    """Return a field for an option, with ``settings`` for ``add_argument``.

    The option's value is a number if ``default`` is one. Four settings are not argparse's: ``name`` (if it differs
    from the field's), ``group`` (the title of the option's section in the help), ``least`` (the smallest number that is
    allowed) and ``choices`` as a function.
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

    The help leaves out the options of ``hidden``, which the command knows only to refuse them.
    """

    hidden: ClassVar[tuple[str, ...]] = ()

    words: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command as one line."""
        return " ".join(["bench", *self.words])

    def chosen(self, options: type[DataclassInstance]) -> list[str]:
        """Return the names of a class's options that were typed."""
        return [item.name for item in fields(options) if item.name in self.typed]


def add_options(parser: ArgumentParser, options: type[Command]) -> None:
    """Add the options of a class to a parser. An option that is not typed keeps its field's default.

    The fields of the last base come first, so list the bases of a class in reverse order.
    """
    groups: dict[str | None, _ActionsContainer] = {None: parser}
    for item in fields(options):
        if not item.metadata:
            continue
        settings = {name: value for name, value in item.metadata.items() if name not in _OWN}
        title = item.metadata.get("group")
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
            groups[title].add_argument(_name(item), dest=item.name, default=SUPPRESS, **settings)


def _name(item: Field[Any]) -> str:
    """Return an option's name on the command line."""
    return str(item.metadata.get("name", f"--{item.name.replace('_', '-')}"))


def read_options(options: type[Options], parsed: Namespace, words: Sequence[str]) -> Options:
    """Return the parsed options as an instance of their class.

    Raises:
        UsageError: a number is smaller than the least that its option allows.
    """
    known = {item.name: item for item in fields(options)}
    typed = {name: value for name, value in vars(parsed).items() if name in known}
    for name, value in typed.items():
        least = known[name].metadata.get("least")
        if least is not None and value < least:
            wanted = f"at least {least}" if least else "0 or more"
            raise UsageError(f"{_name(known[name])} is {value}; give {wanted}.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in typed.items()}
    return options(**values, words=tuple(words), typed=tuple(typed))


def words_of(options: DataclassInstance, names: Iterable[str]) -> list[str]:
    """Return the words that set the named options to their current values."""
    known, words = {item.name: item for item in fields(options)}, []
    for name in names:
        value = getattr(options, name)
        for each in value if isinstance(value, tuple) else (value,):
            words += [_name(known[name])] if each is True else [_name(known[name]), str(each)]
    return words
