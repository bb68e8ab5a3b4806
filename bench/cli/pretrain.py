"""``bench pretrain``: build a base model that comes with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.cli.arguments import Command, arg, word
from bench.console import say
from bench.errors import UsageError
from bench.plan.suite import named_suite
from bench.store.drafts import staged, sweep_stages
from bench.store.places import local_path
from bench.store.run_folder import Store


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(Command):
    """The options of ``bench pretrain``."""

    suite: str = word("a suite whose model comes with the package, such as micro", "SUITE")
    to: Path | None = arg(None, "folder to write to (default: the package's own assets)", "DIR", type=local_path)
    seed: int = arg(0, "random seed of the build (default: 0)", "N")


def pretrain(options: PretrainOptions) -> int:
    """Build a base model that comes with the package."""
    suite = named_suite(options.suite)
    if not Path(suite.model).is_absolute():
        raise UsageError(
            f"The model of suite {suite.name} is {suite.model}, which bench pretrain cannot build. Name another suite."
        )
    from bench.prepare.pretrain.card import build

    folder = options.to or Path(suite.model)
    Store(folder).prepare()
    sweep_stages(folder)
    with staged(folder) as here:
        build(here, seed=options.seed, progress=say)
    say(f"wrote {folder}")
    return 0
