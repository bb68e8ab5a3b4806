"""``bench study``: run an experiment of the paper, reusing the trials that the store already has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.arguments import arg, ranges, several, word
from bench.cli.options import Cells
from bench.cli.repeat import Repeats
from bench.cli.reports import board, print_board, write_reports
from bench.cli.run import Outcome, RunOptions, RunSteps, carry_out
from bench.cli.which_run import new_run
from bench.console import tell, warn
from bench.errors import UsageError
from bench.leaderboard import plots
from bench.papers import comparison_text, published
from bench.papers.studies import STUDIES
from bench.papers.study import Drawing, Study, StudyResult, save_record, wrapped
from bench.plan.plan import Plan, assemble
from bench.plan.request import Request
from bench.plan.suite import Suite, named_suite
from bench.plugins.registry import Registry, suggest
from bench.store import left_out
from bench.store.drafts import staged
from bench.store.run_folder import Store
from bench.store.runs import Run
from bench.track import Result

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class StudyOptions(RunOptions):
    """The options of ``bench study``. The study sets the hidden options itself."""

    hidden = ("methods", "connector", "tuned", "baselines", "rewind")

    name: str = word("name of a study, or ls to list all studies", "NAME")
    suite: str = arg("micro", "the suite (default: micro)", "NAME")
    ranks: str = arg("", "LoRA ranks (default: the study's)", "N,M", type=ranges)
    targets: str = arg("", "tasks to learn (default: all of the suite or its first one, as the study says)", "A,B")
    set: tuple[str, ...] = several(
        "set a field of the recipe, or an option of a task (repeatable)", "NAME.FIELD=VALUE", str
    )

    def cells(self, study: Study, registry: Registry) -> Cells:
        """Return the cells of a study.

        Raises:
            UsageError: the study decides an option that was given, or the suite lacks what the study needs.
        """
        self._refuse(study, registry)
        suite = named_suite(self.suite)
        _check(study, suite)
        targets = "all" if study.targets == "all" else suite.targets[0]
        return replace(
            self,
            methods=",".join(study.methods),
            ranks=self.ranks if "ranks" in self.typed else study.ranks,
            targets=self.targets if "targets" in self.typed else targets,
        )

    def _refuse(self, study: Study, registry: Registry) -> None:
        for name in self.typed:
            if name in self.hidden:
                raise UsageError(f"Study {study.name} decides --{name} itself. Drop it, or use bench run.")
        free = {"recipe", *registry.names("task")}
        for item in self.set:
            field = item.partition("=")[0].strip()
            if field.partition(".")[0] not in free or field == "recipe.connector":
                raise UsageError(
                    f"--set {item} is not possible because study {study.name} decides hyperparameters and connector "
                    "itself. Set fields of the recipe or options of tasks, or use bench run."
                )


def study(options: StudyOptions) -> int:
    """Run an experiment of the paper, and write its table or figure."""
    if options.name == "ls":
        tell(each.line for each in STUDIES.values())
        return 0
    chosen, registry = named_study(options.name), Registry(options.plugin)
    cells = options.cells(chosen, registry)
    run = new_run("study", options.line, cells, study=chosen.name)
    steps = RunSteps(
        run,
        partial(study_plan, chosen),
        partial(_save, chosen, run),
        partial(_write, options, chosen, run),
    )
    return carry_out(steps, options, cells, registry)


def named_study(name: str) -> Study:
    """Return a study by name.

    Raises:
        UsageError: no study has this name.
    """
    if name not in STUDIES:
        raise suggest("study", name, STUDIES)
    return STUDIES[name]


def study_plan(chosen: Study, asked: Request, store: Store) -> Plan:
    """Return the plan of a study.

    Raises:
        UsageError: the study draws only one rank, and the request has several.
    """
    if chosen.one_rank and len(asked.ranks) > 1:
        ranks = ",".join(map(str, asked.ranks))
        raise UsageError(f"Study {chosen.name} draws only one rank, but --ranks is {ranks}. Give one rank.")
    return assemble(asked, chosen.cells(asked), store)


def _check(study: Study, suite: Suite) -> None:
    for kind, tasks in (("target", suite.targets), ("source", suite.sources)):
        if not tasks:
            raise UsageError(
                f"Study {study.name} needs a {kind} task, but suite {suite.name} has no {kind}. Choose another suite."
            )


def _save(chosen: Study, run: Run, made: Plan, store: Store) -> None:
    save_record(store.root / run.reports, chosen.name, run.command, made)


def _write(options: StudyOptions, chosen: Study, run: Run, made: Plan, store: Store) -> Outcome:
    """Write the result of a study into its folder."""
    from bench.page.build import run_page  # imported here because a dry run needs no figures

    ranked = board(made, store, options.line, mixed=options.mix, sort=options.sort)
    found = StudyResult(made, store, ranked, published.rows(made.request, left_out.read(store, made.zero_shot)))
    folder = store.root / run.reports
    with staged(folder) as here:
        if chosen.draw is None:
            paths, lines = _table(chosen, found, here)
        else:
            with plots.style():
                drawing = chosen.draw(found)
            paths, lines = _figure(chosen, drawing, here)
    files = [folder / path.name for path in paths]
    result = partial(Result.of_board, ranked, files)
    repeat = Repeats.of(options, options.output, made.request.registry, store, run.command)
    page = partial(run_page, ranked, made, store, files, repeat, chosen.title)
    return Outcome(files, lines, result, page, *([partial(print_board, ranked)] if chosen.draw is None else []))


def _table(chosen: Study, found: StudyResult, folder: Path) -> tuple[Sequence[Path], Sequence[str]]:
    """Write the leaderboard, and compare its numbers with the published ones."""
    paths, lines = write_reports(found.board, folder), ["", *wrapped(chosen.caption)]
    if numbers := published.beside(chosen.tables, found):
        paths += comparison_text.write_study(numbers, folder)
        lines += ["", *comparison_text.study_lines(numbers)]
    links = [f"* [{path.name}]({path.name})" for path in paths]
    return [*paths, _page(chosen, folder, chosen.caption, links)], lines


def _figure(chosen: Study, drawing: Drawing | None, folder: Path) -> tuple[Sequence[Path], Sequence[str]]:
    """Write a figure and its numbers; the numbers or a summary of them are printed."""
    if drawing is None:
        warn(f"Nothing was drawn for {chosen.name} because no trial has what it shows.")
        return [], []
    paths = [*plots.save(drawing.figure, folder, chosen.name), plots.save_data(drawing.frame, folder, chosen.name)]
    body = [f"![{chosen.title}]({chosen.name}.png)", "", "```", *drawing.lines, "```"]
    paths.append(_page(chosen, folder, drawing.caption, body))
    return paths, [*drawing.lines, "", *wrapped(drawing.caption)]


def _page(chosen: Study, folder: Path, caption: str, body: Sequence[str]) -> Path:
    """Write a page with a study's title, its caption and its result, and return the file."""
    path = folder / f"{chosen.name}.md"
    path.write_text("\n".join([f"# {chosen.title}", "", caption, "", *body]) + "\n", encoding="utf-8")
    return path
