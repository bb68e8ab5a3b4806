"""The words of ``bench data``."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from bench.plan.request import add_plugin_argument

SOURCES = ("files", "hub")


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``bench data`` can do, and the options of each."""
    parser.description = "Fetch, check and describe the data of tasks. `all` stands for those of the suite lorasculpt."
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="what", required=True)
    get = verbs.add_parser("get", help="fetch what is not there yet; goes on where it stopped")
    _shared(get)
    get.add_argument("--from", dest="origin", choices=SOURCES, default="files", help="official files (default), or hub")
    get.add_argument("--yes", action="store_true", help="do not ask")
    check = verbs.add_parser(
        "check", help="look through all records and pictures; exit code 1 where something is wrong"
    )
    _shared(check)
    check.add_argument(
        "--skip-bad", type=int, default=0, metavar="N", help="tolerate up to N broken records of a split (default: 0)"
    )
    check.add_argument(
        "--report", type=Path, metavar="FILE.json", help="where the whole report goes (default: check.json in --data)"
    )
    _shared(verbs.add_parser("info", help="print a card: what it is, whose, how large, and how it is asked"))


def _shared(parser: ArgumentParser) -> None:
    parser.add_argument("tasks", metavar="TASK,…", help="tasks by name, or all")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of the tasks' files (default: $BENCH_DATA, else data)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="TASK.FIELD=VALUE", help="an option of a task; may be given often"
    )
    add_plugin_argument(parser)
