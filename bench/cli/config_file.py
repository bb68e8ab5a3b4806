"""The options of a command kept in a YAML file."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from textwrap import wrap
from typing import Any, ClassVar, NoReturn, cast

import yaml

from bench.cli.arguments import FILE_SECTION, Command, add_options, arg, option_name, read_options, titled_fields
from bench.cli.line_parser import LineParser
from bench.console import say, warn
from bench.errors import UsageError, first_line, without_password
from bench.store.drafts import drafted
from bench.store.places import local_path
from bench.text import did_you_mean

_NEVER_SAVED = ("dry_run",)  # a file that starts nothing is of no use


@dataclass(frozen=True, kw_only=True)
class Kept(Command):
    """The options that keep the other options in a file."""

    section: ClassVar[str | None] = FILE_SECTION

    config: Path | None = arg(
        None, "read options from a YAML file; those of the command line come after them", "FILE", type=local_path
    )
    save_config: Path | None = arg(
        None, "write all options to a YAML file, which --config reads, and stop", "FILE", type=local_path
    )


def with_file(words: Sequence[str], options: Kept, others: Iterable[type[Command]]) -> list[str]:
    """Return the words of a command with the options of its file in place of ``--config FILE``.

    The file's options come first, so that an option of the command line wins. An option that only ``others`` have,
    which are the options of the commands that read such files, is left out and named: one file may serve a search, a
    plan and a run.

    Raises:
        UsageError: the file cannot be read, an option is unknown, or a value is not possible.
    """
    path, known = cast(Path, options.config), _kept(type(options))
    if sum(word == "--config" or word.startswith("--config=") for word in words) > 1:
        raise UsageError("--config is given twice. Give one file.")
    named = _named(path, _read(path))
    if left := [name for name in named if name not in known]:
        foreign = {name for other in others for name in _kept(other)}
        for name in left:
            if name not in foreign:
                hint = did_you_mean(name, known)
                raise UsageError(
                    f"{path}: bench {words[0]} has no option {name!r}.{hint} bench {words[0]} --help lists all."
                )
        warn(f"{path}: bench {words[0]} does not use {', '.join(left)}: it has no such option.")
    found = [word for name in named if name in known for word in _words(path, known[name], named[name])]
    try:
        read_options(type(options), _Checker(type(options)).parse_args(found), found)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return [words[0], *found, *_without_file(words[1:])]


def _named(path: Path, given: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the values of a file by the names of options, whose words may be joined by - or _."""
    named = dict[str, Any]()
    for key, value in given.items():
        name = str(key).replace("-", "_")
        if name in named:
            raise UsageError(f"{path}: {name} stands twice, once with - and once with _. Drop one.")
        named[name] = value
    return named


def save_config(options: Kept) -> None:
    """Write the options of a command to a file: those that were typed, and as comments the defaults of all others.

    Raises:
        UsageError: the file exists, or cannot be written.
    """
    path = cast(Path, options.save_config)
    if path.exists():
        raise UsageError(f"--save-config {path} exists. Delete it, or name another file.")
    arguments = [getattr(options, item.name) for _, item in titled_fields(type(options)) if _is_argument(item)]
    command = shlex.join(["bench", options.words[0], *arguments, "--config", str(path)])
    text = "\n".join([f"# Start with: {command}", "# An option behind a # has its default.", *_lines(options)])
    try:
        with drafted(path) as draft:
            draft.touch(mode=0o666 if without_password(text) == text else 0o600)
            draft.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--save-config {path} cannot be written: {error.strerror}. Name another file.") from None
    say(f"wrote {path}. Start with: {command}")


def _lines(options: Kept) -> Iterator[str]:
    """Yield the lines of the options' file, in the sections of the help."""
    kept, titles = _kept(type(options)), set[str | None]()
    for title, item in titled_fields(type(options)):
        if item.name not in kept:
            continue
        if title not in titles:
            titles.add(title)
            yield from ("", f"## {title or 'options'}")
        yield ""
        yield from wrap(item.metadata["help"], 100, initial_indent="# ", subsequent_indent="# ")
        typed = item.name in options.typed and item.name not in _NEVER_SAVED
        value = _plain(item, getattr(options, item.name) if typed else item.default)
        yield from (f"{'' if typed else '#'}{line}" for line in _dumped({item.name: value}))


def _dumped(value: Mapping[str, Any]) -> list[str]:
    text: str = yaml.safe_dump(dict(value), allow_unicode=True, width=1000)
    return text.splitlines()


def _plain(item: Field[Any], value: Any) -> Any:
    """Return an option's value as YAML holds it."""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    if item.metadata.get("nargs") == "?" and value == item.metadata.get("const"):
        return True
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _kept(options: type[Command]) -> dict[str, Field[Any]]:
    """Return the options of a command that a file may hold, by name."""
    own = {item.name for item in fields(Kept)} - {item.name for item in fields(Command)}
    return {
        item.name: item
        for _, item in titled_fields(options)
        if item.name not in own and item.name not in options.hidden and not _is_argument(item)
    }


def _is_argument(item: Field[Any]) -> bool:
    return bool(item.metadata.get("positional"))


def _read(path: Path) -> Mapping[Any, Any]:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Once)
    except FileNotFoundError:
        raise UsageError(f"--config {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} cannot be read: {error}.") from None
    except yaml.MarkedYAMLError as error:
        where = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise UsageError(f"--config {path} cannot be read as YAML: {error.problem}{where}.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} cannot be read as YAML: {first_line(error)}") from None
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise UsageError(f"--config {path} holds no options. Write one a line, such as methods: lora,dare.")
    return found


class _Once(yaml.SafeLoader):  # type: ignore[misc]
    """A YAML reader that refuses a key which stands twice in a mapping, and leaves numbers as they are written.

    YAML 1.1 reads 010 as 8 and 1:30 as 90, but every value becomes a word of the command.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping."""
        before = set[Any]()
        for key, _ in node.value:
            if key.value in before:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            before.add(key.value)
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


for _kind in ("int", "float", "timestamp"):
    _Once.add_constructor(f"tag:yaml.org,2002:{_kind}", yaml.SafeLoader.construct_yaml_str)


class _Checker(LineParser):
    """A parser of the words that a file means, which raises its errors instead of leaving the process."""

    def __init__(self, options: type[Command]) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        add_options(self, options)
        for action in self._actions:
            if not action.option_strings:  # the file holds no positional arguments
                action.nargs = "*"

    def error(self, message: str) -> NoReturn:
        """Raise the error of a value that is not possible."""
        raise UsageError(f"{message.removeprefix('argument ')}.")


def _words(path: Path, item: Field[Any], value: Any) -> list[str]:
    """Return the words that set an option to a value of the file; none for null, which means the default.

    Raises:
        UsageError: the value is of a kind that the option cannot have.
    """
    name, kind = option_name(item), item.metadata.get("action")
    if value is None:
        return []
    if kind == "store_true" or item.metadata.get("nargs") == "?":
        if isinstance(value, bool):
            return [name] if value else []
        if kind == "store_true":
            raise UsageError(f"{path}: {item.name} is {value}; give true or false.")
    if kind == "append":
        return [f"{name}={text}" for text in _several(value)]
    if isinstance(value, bool | Mapping):
        raise UsageError(f"{path}: {item.name} is {value}; give text or a number, in quotes if YAML misreads it.")
    return [f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"]


def _several(value: Any) -> Iterator[str]:
    """Yield the values of an option that may be given several times: of a list, a single value, or nested mappings."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, Mapping):
                yield from (f"{name}.{text}" for text in _several(inner))
            else:
                yield f"{name}={str(inner).lower() if isinstance(inner, bool | None) else inner}"
    elif isinstance(value, list):
        for each in value:
            yield from _several(each)
    else:
        yield str(value)


def _without_file(words: Sequence[str]) -> list[str]:
    """Return the words of a command without ``--config FILE``."""
    kept, skip = list[str](), False
    for word in words:
        if not skip and word != "--config" and not word.startswith("--config="):
            kept.append(word)
        skip = not skip and word == "--config"
    return kept
