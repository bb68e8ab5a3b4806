"""A parser of options that raises each mistake as one line, which says what to do."""

from __future__ import annotations

from argparse import Action, ArgumentError, ArgumentParser, _SubParsersAction
from typing import Any, NoReturn

from bench.errors import UsageError
from bench.text import did_you_mean

_REQUIRED = "the following arguments are required: "
_NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}


class LineParser(ArgumentParser):
    """An ArgumentParser whose errors are UsageErrors."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse says of a mistake, with the command whose help explains it."""
        what = message.removeprefix("argument ").removesuffix(".")
        if what.startswith(_REQUIRED):
            what = f"{self.prog} needs {what.removeprefix(_REQUIRED)}"
        raise UsageError(f"{what}. {self.prog} --help shows what it takes.")

    def _get_value(self, action: Action, arg_string: str) -> Any:
        """Return a value that was read from its text, or say which kind of number is wanted."""
        try:
            return super()._get_value(action, arg_string)
        except ArgumentError:
            wanted = _NUMBERS.get(action.type)
            if wanted is None or not action.option_strings:
                raise
            raise UsageError(f"{action.option_strings[0]} is {arg_string!r}; give {wanted}.") from None

    def _check_value(self, action: Action, value: Any) -> None:
        """Refuse a value that is not among the choices, and say which one is probably meant."""
        if action.choices is None or isinstance(action, _SubParsersAction) or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        said = f"{action.option_strings[0]} is {value!r}" if action.option_strings else f"{self.prog} has no {value!r}"
        raise UsageError(f"{said}.{did_you_mean(str(value), known)} Choose one of {', '.join(known)}.")
