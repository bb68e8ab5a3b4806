"""Checks of methods that need no model."""

from __future__ import annotations

import pickle

from bench.errors import BenchError, PluginError
from bench.plugins.hyperparameters import Range, check, ranges, values
from bench.plugins.method import Method
from bench.values.trial import Scalar


def check_space_contains_default(plugin: type[Method]) -> None:
    """Each default and each setting of ``off`` is valid; each default is within its search range."""
    spans = ranges(plugin)
    unknown = [name for name in (*plugin.off, *plugin.aliases.values()) if name not in spans]
    if unknown:
        raise PluginError(
            f"{plugin.__name__}.off or .aliases names {unknown[0]!r}, which is not a hyperparameter. "
            f"Choose among {', '.join(spans)}."
        )
    for name, value in values(plugin()).items():
        _check_valid(plugin, name, value, spans[name])
        _check_searched(plugin, name, value, spans[name])
    for name, value in plugin.off.items():
        _check_valid(plugin, name, value, spans[name])


def check_pickles(plugin: type[Method]) -> None:
    """A method survives pickling, because Ray sends it to other processes."""
    method = plugin()
    try:
        copied = pickle.loads(pickle.dumps(method))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise PluginError(
            f"{plugin.__name__} cannot be pickled: {error}. Define it at the top of its module, "
            "and keep no function, file or generator in its fields."
        ) from error
    if values(copied) != values(method):
        raise PluginError(
            f"{plugin.__name__} has other hyperparameters after pickling. Do not define __reduce__ or __getstate__."
        )


def _check_valid(plugin: type[Method], name: str, value: Scalar, span: Range) -> None:
    try:
        check(f"{plugin.__name__}.{name}", value, span)
    except BenchError as error:
        raise PluginError(f"{error} The plugin sets this value itself. Widen the valid range, or change it.") from error


def _check_searched(plugin: type[Method], name: str, value: Scalar, span: Range) -> None:
    if span.low is None or span.high is None or value is None:
        return
    if isinstance(value, str) or not span.low <= value <= span.high:
        raise PluginError(
            f"{plugin.__name__}.{name} is {value!r} by default, outside its search range {span.low:g} to "
            f"{span.high:g}. Change one of them: a search must be able to find the default."
        )
