"""``bench sequence``: learn tasks one after another with every method, and show what each costs the earlier ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from bench.cli.arguments import arg, flag
from bench.cli.chained import Chained
from bench.cli.options import Cells
from bench.cli.repeat import Repeats
from bench.cli.reports import print_sequences, sequences
from bench.cli.run import Outcome, RunOptions, RunSteps, carry_out
from bench.cli.which_run import new_run
from bench.plan.chains import ChainRequest
from bench.plan.plan import Plan
from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.store.runs import Run


@dataclass(frozen=True, kw_only=True)
class SequenceOptions(RunOptions, Chained):
    """The options of ``bench sequence``. The command refuses the hidden ones."""

    hidden = ("targets", "rewind", "sort")

    baselines: bool = flag(
        "add controls of plain LoRA: scaled back after each stage, replay of earlier tasks, and all tasks at once"
    )
    methods: str = arg(
        "all",
        "names, chains of a method and an edit such as lora+lines, all (the built-in methods made for sequences) or "
        "joint (those that learn all tasks at once); plain LoRA is always there; default: all",
        "A,B+C",
    )
    sources: str = arg(
        "end",
        "when the sources are scored: end (after the last task), every (after each task) or never; and which, by name "
        "(default: end, and all of the suite that are not among the tasks)",
        "end|every|never|A,B",
    )


def sequence(options: SequenceOptions) -> int:
    """Learn tasks one after another with every method, and show what each costs the earlier ones."""
    registry = Registry(options.plugin)
    cells, run = options.chain_cells(registry), noted(options, registry)
    meant = partial(options.chain_request, registry, output=options.output)
    steps = RunSteps(
        run,
        lambda asked, store: meant(asked).plan(store),
        lambda made, store: None,
        lambda made, store: _write(options, cells, run, meant(made.request), made, store),
    )
    return carry_out(steps, options, cells, registry)


def noted(options: SequenceOptions, registry: Registry) -> Run:
    """Return the note of a sequence that starts now, without its trials."""
    chained = options.chain_options(registry)
    return replace(new_run("sequence", options.line, options.chain_cells(registry), **chained), chained=chained)


def _write(options: SequenceOptions, cells: Cells, run: Run, chains: ChainRequest, made: Plan, store: Store) -> Outcome:
    """Write the tables and the plot of a sequence, and return what to print."""
    from bench.page.sequence import sequence_page
    from bench.sequences.plot import save_plot  # imported here because a plan needs no pandas
    from bench.sequences.reports import write_reports
    from bench.sequences.tracked import result

    board = sequences(chains, store, options.line, mixed=options.mix)
    folder = store.root / run.reports
    paths = [*write_reports(board, folder), *save_plot(board, folder)]
    repeat = Repeats.of(cells, options.output, made.request.registry, store, run.command)
    page = partial(sequence_page, board, chains, made, store, paths, repeat)
    return Outcome(paths, (), partial(result, board, chains, paths), page, partial(print_sequences, board))
