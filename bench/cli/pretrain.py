"""``bench pretrain``: build the base model of an embedded suite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.cli.options import Command, arg, word
from bench.console import say
from bench.errors import UsageError
from bench.plan.suite import named_suite
from bench.store.run_folder import Store


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(Command):
    """The options of ``bench pretrain``."""

    suite: str = word("a suite whose model comes with the package, such as micro", "SUITE")
    to: Path | None = arg(None, "where to write (default: the package's own assets)", "DIR", type=Path)
    seed: int = arg(0, "seed of the whole building (default: 0)", "N")


def pretrain(options: PretrainOptions) -> int:
    """Build the base model of an embedded suite."""
    suite = named_suite(options.suite)
    if not Path(suite.model).is_absolute():
        raise UsageError(f"The model of suite {suite.name} is not built here: it is {suite.model}.")
    from bench.prepare.pretrain.card import build

    folder = options.to or Path(suite.model)
    Store(folder).prepare()
    build(folder, seed=options.seed, progress=say)
    say(f"wrote {folder}")
    return 0
