"""The command line: parses, calls, prints, exits. Results go to stdout, all else to stderr."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.errors import BenchError, PluginError, UsageError
from bench.store.places import place

_EPILOG = "Exit codes: 0 all good, 1 some trials or checks failed, 2 a mistake in the command, 130 interrupted."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except UsageError as error:
        return _complain(error, 2)
    if options.run is None:
        parser.print_help()
        return 0
    logging.basicConfig(level=logging.WARNING, format="bench: %(message)s", stream=sys.stderr)
    logging.getLogger("huggingface_hub").propagate = False  # it writes its warnings itself
    # Where peft only looks for bitsandbytes, that warns of a kernel which nothing here takes.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    run: Callable[[Namespace], int] = options.run
    try:
        return run(options)
    except (UsageError, PluginError) as error:
        return _complain(error, 2)
    except BenchError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        print("bench: interrupted; the same command goes on where it stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _complain(error: BenchError, code: int) -> int:
    print(f"bench: {error}", file=sys.stderr)
    return code


class _Parser(ArgumentParser):
    """Takes options by their whole names: an abbreviated one would not be seen among the words that were typed."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})


def _parser() -> ArgumentParser:
    from bench import __version__

    parser = _Parser(
        prog="bench",
        description="Measure what a multimodal LLM forgets when it is fine-tuned, for every method on equal terms.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"bench {__version__}")
    parser.set_defaults(run=None)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND")

    def verb(name: str, text: str, module: str = "bench.cli.commands") -> ArgumentParser:
        added: ArgumentParser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(run=_lazily(module, name))
        return added

    _mix(_cells(verb("run", "train, evaluate and rank methods; goes on where it stopped")))
    tune = "tune every method with the same budget, on validation; goes on where it stopped"
    _search(verb("search", tune, "bench.cli.search"))
    _study(verb("study", "run an experiment of the LoRASculpt paper on any suite; ls lists them", "bench.cli.study"))
    _plan(verb("plan", "print what a run would do, what is cached, and what it costs", "bench.cli.plan"))
    _data(verb("data", "fetch, check and describe the data of tasks", "bench.cli.data"))
    _listing(verb("ls", "list methods, tasks, suites, or the trials of a run folder"))
    _leaderboard(verb("leaderboard", "print the leaderboard from the run folder"))
    _compare(
        verb("compare", "put the leaderboard beside a paper's published table, with verdicts", "bench.cli.compare")
    )
    _show(verb("show", "print one trial: its scores, cost, command, and what it forgot"))
    _check(verb("check", "test methods, tasks and reports against the rules of their kind"))
    _doctor(
        verb(
            "doctor",
            "check versions, GPUs, disks, data, model and services; say what to fix",
            "bench.cli.doctor",
        )
    )
    _export(verb("export", "write a trial as a peft adapter or a merged model"))
    _clean(verb("clean", "free checkpoints and unreferenced trials, asking first"))
    _theory(
        verb(
            "theory",
            "check LoRASculpt's theorems on the density of BA by drawing masks",
            "bench.papers.lorasculpt.theorems",
        )
    )
    _pretrain(verb("pretrain", "build the base model of an embedded suite from scratch"))
    port = _output(verb("ui", "open MLflow on this machine to compare runs")).add_argument
    port("--port", type=int, default=5000, metavar="N", help="port of this machine (default: 5000)")
    _output(verb("sync", "bring MLflow up to date with the run folder"))
    return parser


def _lazily(module: str, name: str) -> Callable[[Namespace], int]:
    """Return the function behind a verb, imported only when it is called."""

    def run(options: Namespace) -> int:
        command: Callable[[Namespace], int] = getattr(import_module(module), name)
        return command(options)

    return run


def _cells(parser: ArgumentParser) -> ArgumentParser:
    from bench.plan.request import add_arguments

    add_arguments(parser)
    _start(parser)
    return parser


def _plan(parser: ArgumentParser) -> None:
    from bench.cli.price_options import add_arguments as add_price_arguments
    from bench.plan.request import add_arguments

    add_arguments(parser)
    add_price_arguments(parser)


def _mix(parser: ArgumentParser) -> None:
    text = "compare rows of different environments all the same, and say so (default: set them apart)"
    parser.add_argument("--mix", action="store_true", help=text)


def _start(parser: ArgumentParser) -> None:
    _lanes(parser, "; 0: in this process")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")


def _lanes(parser: ArgumentParser, zero: str = "") -> None:
    from bench.cli.execution import add_arguments

    text = f"warm workers (default: one per GPU or CPU core{zero})"
    parser.add_argument("--lanes", type=int, metavar="N", help=text)
    parser.set_defaults(starts=True)
    add_arguments(parser)


def _study(parser: ArgumentParser) -> None:
    from bench.cli.study_options import add_arguments

    add_arguments(parser)
    _start(parser)
    _mix(parser)


def _data(parser: ArgumentParser) -> None:
    from bench.cli.data_options import add_arguments

    add_arguments(parser)


def _search(parser: ArgumentParser) -> None:
    from bench.plan.request import add_arguments

    add_arguments(parser)
    _lanes(parser)
    objectives = ("avg", "source", "target", "pareto")
    parser.add_argument(
        "--trials", type=int, default=20, metavar="N", help="configurations per method, rank and target (default: 20)"
    )
    parser.add_argument("--fields", metavar="A,B", help="search these hyperparameters alone (default: all that may be)")
    parser.add_argument(
        "--objective", choices=objectives, default="avg", help="what the chosen one is best at (default: avg)"
    )
    parser.add_argument(
        "--margin",
        default="5",
        metavar="POINTS",
        help="stop a training that a finished one beats by this much in Source and Target at the same step (default: 5;"
        " none: stop nothing)",
    )
    parser.add_argument(
        "--sampler", choices=("tpe", "random"), default="tpe", help="random: the control (default: tpe)"
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="Optuna storage shared by several drivers, each with an --output of its own (default: a file in --output)",
    )
    parser.add_argument(
        "--search-seed", type=int, default=0, metavar="N", help="seed of the search itself (default: 0)"
    )


def _output(parser: ArgumentParser) -> ArgumentParser:
    from bench.plan.request import add_output_argument

    add_output_argument(parser)
    return parser


def _listing(parser: ArgumentParser) -> None:
    kinds = ("methods", "tasks", "suites", "trials")
    parser.add_argument("what", nargs="?", choices=kinds, default="methods", help="default: methods")
    _output(parser)


def _leaderboard(parser: ArgumentParser) -> None:
    from bench.plan.request import add_arguments
    from bench.plugins import registry

    parser.description = "Print the leaderboard of the last run, or of the cells that the options name."
    add_arguments(parser)
    parser.add_argument("--format", choices=registry.names("report"), default="table", help="default: table")
    _mix(parser)


def _compare(parser: ArgumentParser) -> None:
    parser.description = "Put the last run's leaderboard beside a paper's table; refuse what is not comparable."
    parser.add_argument("--paper", required=True, metavar="NAME", help="the paper, for instance lorasculpt")
    tolerance = "points within which a number counts as reproduced (default: the paper's own)"
    parser.add_argument("--tolerance", type=float, metavar="POINTS", help=tolerance)
    parser.add_argument("--format", choices=("table", "markdown", "csv"), default="table", help="default: table")
    _mix(parser)
    _output(parser)


def _show(parser: ArgumentParser) -> None:
    from bench.plan.request import add_plugin_argument

    parser.add_argument("trial", metavar="TRIAL", help="a label, an id, or the start of either")
    parser.add_argument("--examples", action="store_true", help="list what went right -> wrong against zero-shot")
    parser.add_argument("--command", action="store_true", help="print the command that runs this trial again")
    add_plugin_argument(parser)
    _output(parser)


def _check(parser: ArgumentParser) -> None:
    from bench.store.places import place

    text = "plugins by name, or a file of plugins; eval: how far answers depend on the way they are generated"
    parser.add_argument("names", nargs="+", metavar="NAME|FILE.py", help=text)
    data = "folder of the tasks' files (default: $BENCH_DATA, else data)"
    parser.add_argument("--data", type=Path, metavar="DIR", help=data)
    setting = "an option of a task; may be given several times"
    parser.add_argument("--set", action="append", default=[], metavar="TASK.FIELD=VALUE", help=setting)
    group = parser.add_argument_group("bench check eval: the same answers at batch 1 and N, unmerged, in other dtypes")
    group.add_argument("--suite", metavar="NAME", help="the suite whose tasks are asked (default: micro)")
    group.add_argument("--model", metavar="DIR|ID", help="another LLaVA checkpoint (default: the suite's)")
    group.add_argument("--limit", metavar="N", help="test examples a task (default: 100)")
    group.add_argument("--batch", type=int, metavar="N", help="answers at once, held against one (default: 64)")
    group.add_argument("--output", type=place, metavar="DIR|URL", help="run folder; what is found is kept there")
    group.add_argument("--trial", metavar="TRIAL", help="a trial of the run folder instead of the base model")


def _doctor(parser: ArgumentParser) -> None:
    from bench.cli.doctor import add_arguments

    add_arguments(parser)


def _export(parser: ArgumentParser) -> None:
    parser.add_argument("trial", metavar="TRIAL", help="a label, an id, or the start of either")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--adapter", type=Path, metavar="DIR", help="write an adapter that peft loads")
    group.add_argument("--merged", type=Path, metavar="DIR", help="write a whole model that transformers loads")
    _output(parser)


def _clean(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    _output(parser)


def _pretrain(parser: ArgumentParser) -> None:
    parser.add_argument("suite", metavar="SUITE", help="a suite whose model comes with the package, such as micro")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where to write (default: the package's own assets)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the whole building (default: 0)")


def _theory(parser: ArgumentParser) -> None:
    shapes = "shapes of BA, rows x columns (default: 64x64,128x512)"
    parser.add_argument("--shapes", default="64x64,128x512", metavar="PxQ,…", help=shapes)
    parser.add_argument("--ranks", default="4,16,64", metavar="R,…", help="ranks (default: 4,16,64)")
    shares = "shares that A and B keep (default: 0.05,0.1,0.3)"
    parser.add_argument("--densities", default="0.05,0.1,0.3", metavar="S,…", help=shares)
    parser.add_argument("--draws", type=int, default=200, metavar="N", help="pairs of masks a line (default: 200)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draws (default: 0)")
    parser.add_argument("--output", type=place, metavar="DIR|URL", help="write theory.csv there (default: nowhere)")
