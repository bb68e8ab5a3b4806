"""The words of ``bench study`` -> a study and a Request; what the study itself decides is refused."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace

from bench.errors import UsageError
from bench.papers.lorasculpt import STUDIES
from bench.papers.study import Study
from bench.plan import request
from bench.plan.plan import Request
from bench.plan.suite import Suite
from bench.plugins.registry import names, suggest

_DECIDED = ("methods", "connector", "tuned", "baselines", "rewind")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the name of the study, and the options that leave it the experiment that it is."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the study, or ls to list them")
    add("--suite", default="micro", metavar="NAME", help="the suite (default: micro)")
    add("--ranks", metavar="N,M", help="LoRA ranks (default: the study's)")
    add("--targets", metavar="A,B", help="tasks to learn (default: the study's: all of the suite, or its first)")
    add("--sources", default="all", metavar="A,B", help="tasks that may be forgotten (default: all of the suite)")
    add("--seeds", default="0", metavar="N,M", help="training seeds (default: 0)")
    add("--limit", metavar="N", help="score only the first N examples of each task")
    add("--set", action="append", default=[], metavar="NAME.FIELD=VALUE", help="a field of the recipe, or of a task")
    request.add_material_arguments(parser)
    for name in _DECIDED:
        add(f"--{name}", nargs="?", const="", help=SUPPRESS)
    request.add_plugin_argument(parser)
    request.add_output_argument(parser)


def find(name: str) -> Study:
    """Return a study by name.

    Raises:
        UsageError: there is no such study.
    """
    if name not in STUDIES:
        raise suggest("study", name, STUDIES)
    return STUDIES[name]


def read(study: Study, options: Namespace) -> Request:
    """Return the request of a study.

    Raises:
        UsageError: an option is the study's to decide, or the suite lacks what the study needs.
    """
    _refuse(study, options)
    suite = request.read_suite(options.suite)
    _check(study, suite)
    targets = "all" if study.targets == "all" else suite.targets[0]
    words = {
        "methods": ",".join(study.methods),
        "ranks": study.ranks if options.ranks is None else options.ranks,
        "targets": targets if options.targets is None else options.targets,
    }
    asked = request.read(
        Namespace(**{**vars(options), **words, "connector": None, "tuned": None, "baselines": False, "rewind": None})
    )
    if study.one_rank and len(asked.ranks) > 1:
        raise UsageError(f"Study {study.name} draws one rank; --ranks is {options.ranks}.")
    return asked


def _refuse(study: Study, options: Namespace) -> None:
    for name in _DECIDED:
        if getattr(options, name) is not None:
            raise UsageError(f"Study {study.name} decides --{name} itself; leave it out, or use bench run.")
    for item in options.set:
        field = item.partition("=")[0].strip()
        free = {"recipe", *names("task")}
        if field.partition(".")[0] not in free or field == "recipe.connector":
            raise UsageError(
                f"--set {item}: study {study.name} decides hyperparameters and connector itself; "
                "set fields of the recipe and of tasks, or use bench run."
            )


def _check(study: Study, suite: Suite) -> None:
    for kind, tasks in (("target", suite.targets), ("source", suite.sources)):
        if not tasks:
            raise UsageError(f"Study {study.name} needs a {kind} task; suite {suite.name} has none.")
