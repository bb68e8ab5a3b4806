"""What each verb of the command line does. Results go to stdout, all else to stderr."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cli.reports import board as board_of
from bench.cli.reports import list_failures, print_board, write_reports
from bench.cli.work import check_lanes, check_output, existing, note_data, perform
from bench.console import agreed, say, tell
from bench.errors import UsageError
from bench.papers.study_record import studied
from bench.plan import request
from bench.plan.baselines import make
from bench.plan.listing import listing, summary
from bench.plan.plan import Plan
from bench.plan.suite import SUITES
from bench.plugins import registry
from bench.sizes import in_unit
from bench.store import last_run, selection
from bench.store.places import is_remote, staged
from bench.store.run_folder import Store
from bench.store.search_results import findings
from bench.track import Mirror


def run(options: Namespace) -> int:
    """Train, evaluate and rank; what the store has is not done again."""
    asked = request.read(options)
    check_lanes(options)
    check_output(options)
    store = Store(options.output.resolve())
    store.check()
    if options.dry_run:
        tell(listing(make(asked, store)))
        return 0
    with store.locked():
        made = make(asked, store)
        say(summary(made))
        last_run.save(store, options)
        note_data(asked, store)
        with Mirror(store, made, last_run.line(options)) as mirror:
            while made.pending:
                before = made
                perform(made, store, options, mirror)
                made = make(asked, store)
                if not before.unsettled or made.works == before.works:  # nothing has followed from it
                    break
            board = board_of(made, store, last_run.line(options), mixed=options.mix)
            tradeoff = _curves(made, store, mixed=options.mix)
            paths = [*write_reports(board, store.root), *tradeoff.paths]
            mirror.finish(board, paths)
    print_board(board)
    tell(tradeoff.lines)
    for path in paths:
        say(f"wrote {path}")
    return list_failures(made, store)


def ls(options: Namespace) -> int:
    """List what there is to choose from, or what a run folder holds."""
    lists: dict[str, Callable[[], Iterable[str]]] = {
        "methods": lambda: registry.names("method"),
        "tasks": lambda: registry.names("task"),
        "suites": lambda: sorted(SUITES),
        "trials": lambda: _trial_lines(existing(options)),
    }
    for line in lists[options.what]():
        print(line)
    return 0


def leaderboard(options: Namespace) -> int:
    """Print the leaderboard from the store, and nothing else, on stdout."""
    store = Store(options.output.resolve())
    store.check()
    if selection.is_default(options.words):
        options = last_run.needed(store, options.output).options(options)
    made, command = make(request.read(options), store), last_run.command_of(store, options)
    print_board(board_of(made, store, command, mixed=options.mix), options.format)
    return 0


def show(options: Namespace) -> int:
    """Print one trial."""
    from bench.cli.show import command_line, examples, overview

    store = existing(options)
    record = store.find(options.trial)
    ran = last_run.read(store)
    plugins = options.plugin or (ran.plugins if ran else [])
    for path in plugins:
        registry.add_file(path)
    if options.command:
        print(command_line(record, options.output, plugins, ran.reading() if ran else ()))
    elif options.examples:
        print(examples(record, store))
    else:
        print(overview(record, store))
    return 0


def check(options: Namespace) -> int:
    """Test plugins against the rules of their kind, or how far answers depend on the way they are generated."""
    from bench.checks import run_checks
    from bench.cli.check_eval import check_eval, refuse_options

    if options.names == ["eval"]:
        return check_eval(options)
    refuse_options(options)
    request.read_data(options)
    failed = 0
    for name in options.names:
        for result in run_checks(name):
            failed += not result.passed
            print(result)
    return 1 if failed else 0


def export(options: Namespace) -> int:
    """Write a trial as an adapter or as a merged model."""
    from bench.cli.export import write_adapter, write_merged

    store = existing(options)
    record = store.find(options.trial)
    if options.adapter is not None:
        write_adapter(record, store, options.adapter)
    else:
        write_merged(record, store, options.merged)
    say(f"wrote {options.adapter or options.merged}")
    return 0


def clean(options: Namespace) -> int:
    """Free what no leaderboard needs, asking first."""
    from bench.store.clean import free, waste

    store = existing(options)
    if is_remote(store.root):
        raise UsageError(f"bench clean works on a disk; delete what you do not need in {options.output} yourself.")
    with store.locked():
        found = waste(store, _referenced(store, options))
        for item in found:
            print(f"{in_unit(item.bytes, 'MB'):>12}  {item.path}  ({item.reason})")
        total = sum(item.bytes for item in found)
        if not found:
            say("Nothing to free.")
            return 0
        if not options.yes and not agreed(f"Delete {len(found)} items, {in_unit(total, 'MB')}? [y/N] "):
            say("Nothing was deleted.")
            return 0
        free(found)
    say(f"Freed {in_unit(total, 'MB')}.")
    return 0


def pretrain(options: Namespace) -> int:
    """Build the base model of an embedded suite."""
    suite = request.read_suite(options.suite)
    if not Path(suite.model).is_absolute():
        raise UsageError(f"The model of suite {suite.name} is not built here: it is {suite.model}.")
    from bench.prepare.pretrain.card import build

    folder = options.to or Path(suite.model)
    Store(folder).prepare()
    build(folder, seed=options.seed, progress=say)
    say(f"wrote {folder}")
    return 0


def ui(options: Namespace) -> int:
    """Open MLflow on this machine."""
    from bench.track import ui as serve

    return serve(options.output.resolve(), options.port, say)


def sync(options: Namespace) -> int:
    """Bring MLflow up to date."""
    from bench.track import sync as mirror

    store = existing(options)
    with store.locked():
        count = mirror(store)
    say(f"MLflow is up to date: {count} trials and searches written.")
    return 0


@dataclass(frozen=True, slots=True)
class _Curves:
    paths: Sequence[Path] = ()
    lines: Sequence[str] = ()


def _curves(made: Plan, store: Store, *, mixed: bool) -> _Curves:
    """Draw the trade-off curves that were asked for."""
    if not made.request.strengths:
        return _Curves()
    from bench.leaderboard import tradeoff

    found, folder = tradeoff.read(made, store), store.root / tradeoff.FOLDER
    with staged(folder) as here:
        names = [path.name for path in tradeoff.write(found, here)]
    return _Curves([folder / name for name in names], list(tradeoff.lines(found, mixed=mixed)))


def _trial_lines(store: Store) -> Iterator[str]:
    for record in store.records():
        seconds = record.cost.train_seconds + record.cost.evaluate_seconds
        yield f"{record.trial.id}  {record.status:6}  {seconds:7.1f} s  {record.trial.label}"


def _referenced(store: Store, options: Namespace) -> set[str]:
    """Return the ids of the trials that the last run's leaderboard, the searches and the studies stand on."""
    ran, found, ids = last_run.read(store), list(findings(store.root)), studied(store)
    if ran is None and not found and not ids:
        raise UsageError(f"{store.root} has no run; nothing can be told to be unreferenced.")
    tried = {trial for finding, _ in found for item in finding.configurations for trial in item.trials}
    for record in store.records():
        if record.trial.id in tried:
            ids |= {record.trial.id, *(trial.id for trial in record.trial.ancestors())}
    if ran is not None:
        ids |= {work.trial.id for work in make(request.read(ran.options(options)), store).works}
    return ids
