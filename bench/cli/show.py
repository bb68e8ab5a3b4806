"""``bench show``: print a trial's scores and cost, the command that repeats it, or what it forgot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.cli.arguments import Command, flag
from bench.cli.options import OneTrial, Output, Plugins, TextOrJson
from bench.cli.repeat import Repeats, asked_in
from bench.console import say
from bench.errors import UsageError
from bench.lanes.progress import pace
from bench.leaderboard.environments import SCORED_WITH
from bench.leaderboard.lost_examples import ScoredExample, right_to_wrong
from bench.plugins.registry import Registry
from bench.sizes import in_unit
from bench.store.json_note import json_text
from bench.store.run_folder import Store
from bench.trial import parity
from bench.values.recipe import EVALUATED
from bench.values.record import Record
from bench.values.scores import Score
from bench.values.trial import FIT_VERSION


@dataclass(frozen=True, kw_only=True)
class _Shown(OneTrial):
    examples: bool = flag("list the examples that zero-shot got right and the trial got wrong")
    command: bool = flag("print the command that repeats this trial")


@dataclass(frozen=True, kw_only=True)
class ShowOptions(TextOrJson, Output, Plugins, _Shown, Command):
    """The options of ``bench show``."""


def show(options: ShowOptions) -> int:
    """Print one trial."""
    store = options.existing()
    record = store.find(options.trial)
    if options.format == "json":
        if options.command or options.examples:
            raise UsageError("--format json prints the record of a trial. Drop it, or --command and --examples.")
        print(json_text(record.to_json()))
        return 0
    if options.command:
        print(_repeat(record, store, options))
    elif options.examples:
        print(examples(record, store))
    else:
        print(overview(record, store))
    return 0


def _repeat(record: Record, store: Store, options: ShowOptions) -> str:
    if record.trial.is_older:
        say(f"The trial is of version {record.trial.version}; the command trains it again, by version {FIT_VERSION}.")
    cells, whole = asked_in(store, record.trial)
    return Repeats.of(cells, options.output, Registry(options.plugin or cells.plugin), store, whole)(record)


def overview(record: Record, store: Store) -> str:
    """Return a trial's scores, settings, cost and environment."""
    trial, cost = record.trial, record.cost
    lines = [f"{trial.label}  {trial.id}  {record.status}", f"  folder       {store.folder(trial)}"]
    if record.error:
        lines += [f"  error        {record.error}", f"  traceback    {store.folder(trial) / 'error.txt'}"]
    if trial.parent:
        verb = "edits    " if trial.is_edit else "continues"
        at = "" if trial.snapshot is None else f", its change after update {trial.snapshot}"
        lines.append(f"  {verb}    {trial.parent.label}  {trial.parent.id}{at}")
    if trial.sources:
        lines.append(f"  trained on   {trial.target}, and examples of {', '.join(trial.sources)}")
    lines.append(f"  settings     {_pairs(trial.hyper)}")
    lines.append(f"  recipe       {_pairs(trial.recipe.to_json())}")
    lines.append(
        f"  cost         {cost.train_seconds:.1f} s training, {cost.evaluate_seconds:.1f} s evaluation, "
        f"{in_unit(cost.peak_memory_bytes, 'MiB', 0)} peak, {cost.trainable_parameters:,} trained, "
        f"{in_unit(cost.change_bytes, 'MiB', 2)} of change"
    )
    for score in record.scores.values():
        means = "  ".join(f"{name} {100 * value:.2f}" for name, value in score.metrics.items())
        facts = (score.asked.split, f"{score.asked.count} examples", pace(score))
        lines.append(f"  {score.asked.task:<14} {means}  ({', '.join(fact for fact in facts if fact)})")
    lines.append(f"  environment  {_pairs(record.environment)}")
    lines += [f"  scored with  {pairs}" for pairs in dict.fromkeys(map(_scored_with, record.scores.values())) if pairs]
    if (found := parity.read(store).get(parity.subject(trial))) is not None:
        lines += ["", *parity.lines(found)]
    return "\n".join(lines)


def examples(record: Record, store: Store) -> str:
    """Return a list of the source examples that zero-shot got right and the trial got wrong.

    Raises:
        UsageError: the trial has no test scores, or the run folder has no zero-shot scores of the same examples.
    """
    tested = {key: score for key, score in record.scores.items() if score.asked.split == "test"}
    sources = {key: score for key, score in tested.items() if score.asked.task not in record.trial.tasks}
    if not sources:
        raise UsageError(f"{record.trial.label} has no test scores of a source. Measure them with bench run.")
    references = (other for other in store.records() if other.trial.is_reference_of(record.trial))
    zero_shot = next((other for other in references if sources.keys() <= other.scores.keys()), None)
    if zero_shot is None:
        raise UsageError(
            f"{store.root} has no zero-shot scores of the same examples with the same {', '.join(EVALUATED)}. "
            "Run bench run again."
        )
    blocks = []
    for key, score in sources.items():
        before = _examples(zero_shot, store, zero_shot.scores[key])
        lost = right_to_wrong(before, _examples(record, store, score))
        blocks.append(f"{score.asked.task}: {len(lost)} of {score.asked.count} went from right to wrong")
        blocks += [
            f"  {now.id}  {now.question}\n    accepted {' | '.join(dict.fromkeys(now.answers))}   "
            f"zero-shot {known.prediction!r}   now {now.prediction!r}"
            for known, now in lost
        ]
    return "\n".join(blocks)


def _examples(record: Record, store: Store, score: Score) -> list[ScoredExample]:
    return [
        ScoredExample(
            row["id"], row["question"], tuple(row["answers"]), row["prediction"], row["scores"][score.primary]
        )
        for row in store.scores_of(record.trial).read(score)
    ]


def _scored_with(score: Score) -> str:
    """Return the facts of a score's environment that matter, or "" if an old version noted no environment."""
    return ", ".join(f"{name} {score.environment[name]}" for name in SCORED_WITH if name in score.environment)


def _pairs(facts: Mapping[str, Any]) -> str:
    texts = {name: "none" if value is None else str(value) for name, value in facts.items()}
    pairs = (f"{name} {text!r}" if "\n" in text else f"{name} {text}" for name, text in texts.items())
    return ", ".join(pairs) or "-"
