"""The options that name a sequence of tasks, and the chains that they mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

from bench.cli.arguments import Command, arg, several, split_list
from bench.cli.config_file import Kept
from bench.cli.options import Cells
from bench.cli.request import NO_SOURCE, chain_methods, task_names, tuned_chains
from bench.cli.which_run import request_of
from bench.errors import UsageError
from bench.plan import tuned
from bench.plan.chains import ChainMethod, ChainRequest, When, check_orders
from bench.plan.request import Request
from bench.plan.suite import named_suite
from bench.plugins.registry import BASELINE, Registry
from bench.store.runs import Run

WHEN: tuple[When, ...] = get_args(When)
_REFUSED = ("targets", "rewind", "sort")  # options of a leaderboard's cells that a sequence does not have


@dataclass(frozen=True, kw_only=True)
class Chained(Cells, Kept):
    """Cells that may also be those of a sequence: then their tasks are learnt one after another."""

    section: ClassVar[str | None] = "what is compared"

    tasks: str = arg("", "the tasks to learn one after another, in this order", "A,B,C")
    order: tuple[str, ...] = several("another order of the same tasks (repeatable)", "B,A,C", str)

    @property
    def is_sequence(self) -> bool:
        """Whether the options name tasks to learn one after another.

        Raises:
            UsageError: there is an order, but no tasks.
        """
        if self.order and not self.tasks:
            raise UsageError(f"--order {self.order[0]} is another order of --tasks. Add --tasks, or drop --order.")
        return bool(self.tasks)

    def named_tasks(self, registry: Registry) -> tuple[str, ...]:
        """Return the tasks in their order.

        Raises:
            UsageError: there is none, a name is unknown, or the orders are not those of a sequence.
        """
        if not self.tasks:
            raise UsageError("A sequence needs the tasks to learn, in order. Add --tasks A,B,C.")
        words = _in_order(self.tasks)
        for name in words:
            registry.task_class(name)
        check_orders(self.orders())
        return words

    def orders(self) -> tuple[tuple[str, ...], ...]:
        """Return the order of --tasks, and then the other orders."""
        return tuple(dict.fromkeys((_in_order(self.tasks), *(_in_order(order) for order in self.order))))

    def chain_methods(self, registry: Registry) -> tuple[ChainMethod, ...]:
        """Return the methods of the chains; those made for sequences, unless --methods names others.

        Raises:
            UsageError: a name is unknown, or methods cannot form a chain.
        """
        return chain_methods(self.methods if "methods" in self.typed else "all", registry)

    def scored(self, registry: Registry) -> tuple[When, str]:
        """Return when the sources are scored, and which, as --sources of other commands says it.

        Raises:
            UsageError: a source is named that is also a task, or the words exclude each other.
        """
        words = split_list("--sources", self.sources, str, f"{', '.join(WHEN)}, or names of tasks")
        when = [word for word in WHEN if word in words]
        names = [word for word in words if word not in WHEN]
        if len(when) > 1 or (when == ["never"] and names):
            raise UsageError(f"--sources is {self.sources}; give one of {', '.join(WHEN)}.")
        tasks = {name.partition("@")[0] for name in self.named_tasks(registry)}
        chosen = task_names(",".join(names), (), registry) if names and names != ["all"] else ()
        if both := next((name for name in chosen if name.partition("@")[0] in tasks), None):
            raise UsageError(f"{both} is both a task and a source. Drop it from --tasks or --sources.")
        left = chosen or [name for name in named_suite(self.suite).sources if name not in tasks]
        never = when == ["never"] or not left
        return (when[0] if when else "end", NO_SOURCE if never else ",".join(left))

    def chain_options(self, registry: Registry) -> dict[str, Any]:
        """Return what distinguishes the chains from cells, as JSON stores it; ``chains_of`` reads it.

        Raises:
            UsageError: a name is unknown, or methods cannot form a chain.
        """
        return {
            "chains": [method.name for method in self.chain_methods(registry)],
            "orders": [list(order) for order in self.orders()],
            "when": self.scored(registry)[0],
            "controls": self.baselines,
            "tuned": self.tuned,
        }

    def chain_cells(self, registry: Registry) -> Cells:
        """Return the options as those of a leaderboard's cells, whose targets are the tasks.

        Raises:
            UsageError: an option that was given does not apply, or a name is unknown.
        """
        for name in self.typed:
            if name in _REFUSED:
                instead = "Name the tasks with --tasks." if name == "targets" else "Drop it."
                raise UsageError(f"--{name} is not an option of a sequence. {instead}")
        tasks, sources = self.named_tasks(registry), self.scored(registry)[1]
        parts = [part for method in self.chain_methods(registry) for part in method.parts]
        return replace(
            self,
            methods=",".join(dict.fromkeys((BASELINE, *parts))),
            targets=",".join(tasks),
            sources=sources,
            baselines=False,
            tuned=None,
        )

    def chain_request(self, registry: Registry, asked: Request, output: Path | None = None) -> ChainRequest:
        """Return the chains that the options mean, for the request that was read from ``chain_cells``.

        The ``output`` may have the search whose choices ``--tuned`` adds.

        Raises:
            UsageError: the tasks cannot be learnt as a sequence, ``--tuned`` finds no search of it, or an older version
            chose what is now out of range.
        """
        methods, when = self.chain_methods(registry), self.scored(registry)[0]
        found = ChainRequest(asked, methods, self.orders(), when, self.baselines)
        found.check()
        if self.tuned is None or output is None:
            return found
        found = _with_tuned(found, self.tuned, output)
        tuned.check_ranges(found.request.tuned, registry)
        return found


def chains_of(run: Run, output: Path, typed: Command | None = None) -> ChainRequest:
    """Return the chains of a sequence whose note a run folder has.

    Options that select no cells, such as --plugin, have the values that were ``typed``.

    Raises:
        UsageError: the note does not say which chains it means, or names a method or task that is unknown here.
    """
    asked, kept = request_of(run, output, typed), run.chained
    if not kept:
        raise UsageError(
            f"The note of {run.name} does not say which chains it means. Run its command again; nothing is trained "
            f"again: {run.command}"
        )
    methods = tuple(ChainMethod.read(name, asked.registry) for name in kept["chains"])
    orders = tuple(tuple(order) for order in kept["orders"])
    found = ChainRequest(asked, methods, orders, kept["when"], bool(kept["controls"]))
    return found if kept["tuned"] is None else _with_tuned(found, str(kept["tuned"]), output)


def _with_tuned(chains: ChainRequest, chosen: str, output: Path) -> ChainRequest:
    """Return the chains, and those with what a search chose: that of the named place, or else of the run folder."""
    return replace(chains, request=replace(chains.request, tuned=tuned_chains(chosen, chains, output)))


def _in_order(text: str) -> tuple[str, ...]:
    """Return the names of a list in its order; one that comes twice stays, so that it can be refused by name."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
