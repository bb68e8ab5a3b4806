"""The options that say for what a run is priced."""

from __future__ import annotations

from argparse import ArgumentParser

from bench.cli import execution


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options that say for what a run is priced."""
    execution.add_arguments(parser)
    group = parser.add_argument_group("what it costs")
    add = group.add_argument
    add("--lanes", type=int, metavar="N", help="lanes that the run is to have (default: as bench run)")
    add("--gpu", metavar="NAME:N", help="price it for N such GPUs (default: this machine's, else one A100 40GB)")
    add("--probe", action="store_true", help="measure 20 updates a method and 64 answers here; kept in the run folder")
    add("--budget", metavar="HOURS", help="propose what fits into so many GPU-hours, such as 40h")
