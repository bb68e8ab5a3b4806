"""``bench study``: run an experiment of the paper, reusing the trials that the store already has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bench.cli.options import (
    HIDDEN,
    Cells,
    Command,
    Material,
    Mix,
    Output,
    Plugins,
    Scored,
    Starts,
    Suited,
    arg,
    several,
    word,
)
from bench.cli.reports import board, list_failures, print_board, write_reports
from bench.cli.request import read_request, start_request
from bench.cli.work import check_output, perform
from bench.console import say, tell
from bench.errors import UsageError
from bench.lanes.setup import note_data
from bench.leaderboard import plots
from bench.papers import comparison_text, published, study_record
from bench.papers.lorasculpt import STUDIES
from bench.papers.study import Drawing, Study, StudyResult, folder_of, wrapped
from bench.plan.listing import listing, summary
from bench.plan.plan import assemble
from bench.plan.request import Request
from bench.plan.suite import Suite, named_suite
from bench.plugins.registry import Registry, suggest
from bench.store.places import staged
from bench.store.run_folder import Store
from bench.track import Mirror


@dataclass(frozen=True, kw_only=True)
class _Chosen(Suited):
    name: str = word("name of a study, or ls to list all studies", "NAME")
    suite: str = arg("micro", "the suite (default: micro)", "NAME")
    ranks: str | None = arg(None, "LoRA ranks (default: the study's)", "N,M")
    targets: str | None = arg(
        None, "tasks to learn (default: all of the suite or its first one, as the study says)", "A,B"
    )


@dataclass(frozen=True, kw_only=True)
class _Set:
    set: tuple[str, ...] = several(
        "set a field of the recipe, or an option of a task (repeatable)", "NAME.FIELD=VALUE", str
    )


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The options of cells that a study decides itself and a command may not give."""

    methods: str | None = arg(None, HIDDEN, nargs="?", const="")
    connector: str | None = arg(None, HIDDEN, nargs="?", const="")
    tuned: str | None = arg(None, HIDDEN, nargs="?", const="")
    baselines: str | None = arg(None, HIDDEN, nargs="?", const="")
    rewind: str | None = arg(None, HIDDEN, nargs="?", const="")


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Mix, Starts, Output, Plugins, Decided, Material, _Set, Scored, _Chosen, Command):
    """The options of ``bench study``; they leave the experiment itself unchanged."""

    def cells(self, study: Study) -> Cells:
        """Return the cells of a study.

        Raises:
            UsageError: the study decides an option that was given, or the suite lacks what the study needs.
        """
        self._refuse(study)
        suite = named_suite(self.suite)
        _check(study, suite)
        targets = "all" if study.targets == "all" else suite.targets[0]
        own = {item.name for item in fields(self)} - {item.name for item in fields(Decided)}
        given = {item.name: getattr(self, item.name) for item in fields(Cells) if item.name in own}
        ranks = study.ranks if self.ranks is None else self.ranks
        targets = targets if self.targets is None else self.targets
        return Cells(**{**given, "methods": ",".join(study.methods), "ranks": ranks, "targets": targets})

    def _refuse(self, study: Study) -> None:
        for option in fields(Decided):
            if getattr(self, option.name) is not None:
                raise UsageError(f"Study {study.name} decides --{option.name} itself. Drop it, or use bench run.")
        for item in self.set:
            field = item.partition("=")[0].strip()
            free = {"recipe", *Registry(self.plugin).names("task")}
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
    chosen = named_study(options.name)
    launch = options.launch(options.lanes)
    check_output(options.output, options.lanes)
    asked = study_request(chosen, options)
    cells = chosen.cells(asked)
    store = Store(options.output.resolve())
    store.check()
    if options.dry_run:
        tell(listing(assemble(asked, cells, store)))
        return 0
    with store.locked():
        made = assemble(asked, cells, store)
        say(summary(made))
        note_data(asked, store)
        study_record.save(folder_of(store, chosen.name), chosen.name, options.line, made)
        with Mirror(store, made, options.line) as mirror:
            perform(made, store, launch, mirror)
            ranked = board(made, store, options.line, mixed=options.mix)
            found = StudyResult(made, store, ranked, published.rows(asked))
            folder = folder_of(store, chosen.name)
            with staged(folder) as here:
                names = [path.name for path in _show(chosen, found, here)]
            paths = [folder / name for name in names]
            mirror.finish(found.board, paths)
    for path in paths:
        say(f"wrote {path}")
    return list_failures(made, store)


def named_study(name: str) -> Study:
    """Return a study by name.

    Raises:
        UsageError: no study has this name.
    """
    if name not in STUDIES:
        raise suggest("study", name, STUDIES)
    return STUDIES[name]


def study_request(chosen: Study, options: StudyOptions) -> Request:
    """Return the request of a study.

    Raises:
        UsageError: the study decides an option that was given, an option is out of range, or the suite lacks what the
            study needs.
    """
    read = read_request if options.dry_run else start_request
    asked = read(options.cells(chosen), options.output)
    if chosen.one_rank and len(asked.ranks) > 1:
        raise UsageError(f"Study {chosen.name} draws only one rank, but --ranks is {options.ranks}. Give one rank.")
    return asked


def _check(study: Study, suite: Suite) -> None:
    for kind, tasks in (("target", suite.targets), ("source", suite.sources)):
        if not tasks:
            raise UsageError(
                f"Study {study.name} needs a {kind} task, but suite {suite.name} has no {kind}. Choose another suite."
            )


def _show(chosen: Study, found: StudyResult, folder: Path) -> Sequence[Path]:
    """Print the result of a study, and write it into a folder."""
    if chosen.draw is None:
        return _table(chosen, found, folder)
    with plots.style():
        drawing = chosen.draw(found)
    if drawing is None:
        say(f"Nothing was drawn for {chosen.name} because no trial has what it shows.")
        return []
    return _figure(chosen, drawing, folder)


def _table(chosen: Study, found: StudyResult, folder: Path) -> Sequence[Path]:
    """Print and write the leaderboard, and compare its numbers with the published ones."""
    paths = write_reports(found.board, folder)
    pairs = published.beside(chosen.tables, found)
    paths += comparison_text.write_pairs(pairs, folder) if pairs else []
    links = [f"* [{path.name}]({path.name})" for path in paths]
    paths.append(_page(chosen, folder, chosen.caption, links))
    print_board(found.board)
    tell(["", *wrapped(chosen.caption)])
    if pairs:
        tell(["", *comparison_text.pair_lines(pairs)])
    return paths


def _figure(chosen: Study, drawing: Drawing, folder: Path) -> Sequence[Path]:
    """Write a figure and its numbers, and print the numbers or a summary of them."""
    paths = [*plots.save(drawing.figure, folder, chosen.name), plots.save_data(drawing.frame, folder, chosen.name)]
    body = [f"![{chosen.title}]({chosen.name}.png)", "", "```", *drawing.lines, "```"]
    paths.append(_page(chosen, folder, drawing.caption, body))
    tell([*drawing.lines, "", *wrapped(drawing.caption)])
    return paths


def _page(chosen: Study, folder: Path, caption: str, body: Sequence[str]) -> Path:
    """Write a page with a study's title, its caption and its result, and return the file."""
    path = folder / f"{chosen.name}.md"
    path.write_text("\n".join([f"# {chosen.title}", "", caption, "", *body]) + "\n", encoding="utf-8")
    return path
