"""Turn the results of a search into the tables of its page: what was chosen, and every configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.page.ranking import Column, TableBlock, TableCell, TableLine
from bench.page.rows import PageRows
from bench.plan.tuned import quest_row
from bench.store.search_results import Configuration, SearchResult
from bench.text import counted, shareable_reason
from bench.values.trial import Scalar

_SCORES = ("source", "target", "avg")
_LONGEST = 90  # letters of a reason that a table shows; a switch of the page shows all


@dataclass(frozen=True, slots=True)
class ConfigurationLine:
    """A configuration as a line of a table; ``states`` are the words by which the page filters it."""

    line: TableLine
    states: str


@dataclass(frozen=True, slots=True)
class ConfigurationTable:
    """The configurations of a quest, the sentences above them, and the script with its figures, if there are any.

    ``row`` is the id of the quest's row on the page.
    """

    id: str
    row: str
    label: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[ConfigurationLine, ...]
    sentences: tuple[str, ...]
    figures: str = ""


def title_of(result: SearchResult) -> str:
    """Return the name of a quest on a page."""
    return f"{result.facts['method']}, rank {result.facts['rank']}, {what(result)}"


def what(result: SearchResult) -> str:
    """Return what a quest learns: its target, or the tasks of its sequence."""
    return f"the sequence {result.learnt}" if result.order else result.learnt


def chosen_columns(results: Sequence[SearchResult]) -> list[Column]:
    """Return the columns of the table of choices."""
    target = results[0].goal
    return [
        Column("chosen", "chosen configuration", "means", text=True),
        Column("source", "Source", "means", "of the chosen configuration, on validation"),
        Column("target", target, "means", "of the chosen configuration, on validation"),
        Column("avg", "Avg", "means", f"(Source + {target}) / 2 of the chosen configuration, on validation"),
        Column("default", "Avg of the default", "means", "of the method's own hyperparameters, on validation"),
        Column("gain", "difference", "means", "Avg of the chosen configuration minus Avg of the default"),
        Column("tried", "tried", "details", "configurations"),
        Column("done", "finished", "details", "configurations with scores"),
        Column("stopped", "stopped", "details", "configurations that were stopped early"),
        Column("failed", "failed", "details", "configurations that failed"),
        Column("front", "front", "details", f"configurations that no other beats in both Source and {target}"),
        Column("volume", "hypervolume", "details", f"the area below the front, of Source x {target} as fractions"),
        Column("saved", "updates saved", "costs", "updates that early stopping saved, of all that were planned"),
    ]


def chosen_blocks(results: Sequence[SearchResult], rows: PageRows) -> list[TableBlock]:
    """Return what was chosen: a block for each target and rank, and a line for each method."""
    found: dict[str, list[TableLine]] = {}
    for result in results:
        facts = result.facts
        line = TableLine(rows.id(quest_row(result)), facts["method"], "", False, tuple(_choice(result)))
        found.setdefault(f"{result.learnt}, rank {facts['rank']}", []).append(line)
    return [TableBlock(title, tuple(lines)) for title, lines in found.items()]


def _choice(result: SearchResult) -> Iterator[TableCell]:
    facts, item = result.facts, next((one for one in result.configurations if one.number == result.chosen), None)
    if item is None:
        yield TableCell("no configuration has scores", tone="text")
    else:
        mark = " (the default)" if item.number == result.default else ""
        yield TableCell(f"{settings(item.hyper)}{mark}", tone="text", says=f"configuration {item.number}")
    chosen, default = facts["chosen"], facts["default"]
    yield from (_percent(chosen[name]) if chosen else TableCell("-") for name in _SCORES)
    yield _percent(default["avg"]) if default else TableCell("-")
    gain = chosen["avg"] - default["avg"] if chosen and default else None
    yield TableCell("-") if gain is None else TableCell(f"{100 * gain:+.2f}", gain)
    counts = [len(result.configurations), *map(result.count, ("done", "stopped", "failed")), len(facts["front"])]
    yield from (TableCell(str(count), count) for count in counts)
    yield TableCell(f"{facts['hypervolume']:.3f}", facts["hypervolume"])
    saved, planned = facts["updates_saved"], result.updates
    yield TableCell(f"{saved:,} of {planned:,}" if planned else f"{saved:,}", saved)


def configuration_table(
    result: SearchResult, rows: PageRows, number: int, figures: str, left_out: str = ""
) -> ConfigurationTable:
    """Return the configurations of a quest; ``left_out`` is the sentence on figures that its page has no room for."""
    target = result.goal
    columns = [Column("mark", "mark", "means", text=True), Column("state", "state", "means", text=True)]
    for name, span in result.space.items():
        words = any(isinstance(item.hyper.get(name), str | bool) for item in result.configurations)
        columns.append(Column(name, name, "means", f"searched: {span}", text=words))
    columns += [Column(name, title, "means") for name, title in zip(_SCORES, ("Source", target, "Avg"), strict=True)]
    best = {point["number"] for point in result.facts["front"]}
    row = rows.id(quest_row(result))
    lines = tuple(_line(result, item, row, item.number in best) for item in result.configurations)
    sentences = tuple(filter(None, (*_sentences(result), left_out)))
    title = title_of(result)
    return ConfigurationTable(f"q{number}", row, result.label, title, tuple(columns), lines, sentences, figures)


def _line(result: SearchResult, item: Configuration, row: str, on_front: bool) -> ConfigurationLine:
    marks = {"chosen": item.number == result.chosen, "default": item.number == result.default, "front": on_front}
    held = [name for name, holds in marks.items() if holds]
    state = {"done": "finished", "stopped": "stopped early", "running": "not finished"}.get(item.state, item.state)
    if item.step is not None:
        state += f" after update {item.step:,}"
    if item.reason:
        state += f": {_short(item.reason)}"
    tone = "down" if item.state == "failed" else ""
    cells = [
        TableCell(", ".join(held), tone="text"),
        TableCell(state, tone=f"text state {tone}", says=shareable_reason(item.reason)),
    ]
    cells += [_value(item.hyper.get(name)) for name in result.space]
    cells += [_percent(getattr(item, name)) for name in _SCORES]
    line = TableLine(row, str(item.number), str(item.number), False, tuple(cells))
    return ConfigurationLine(line, " ".join([item.state, *held]))


def _sentences(result: SearchResult) -> Iterator[str]:
    """Yield what was searched, the budget, and what mattered."""
    facts, count = result.facts, len(result.configurations)
    yield f"Searched: {'; '.join(f'{name} {span}' for name, span in result.space.items())}."
    ended = ", ".join(
        f"{result.count(state)} {word}"
        for state, word in (("done", "finished"), ("stopped", "stopped early"), ("failed", "failed"))
    )
    text = f"Budget: {count} of {counted(facts['trials'], 'configuration')} tried; {ended}."
    if result.updates == 0:
        text += " An edit trains nothing, so early stopping has nothing to save."
    elif result.updates is not None:
        saved = facts["updates_saved"]
        text += (
            f" All of them together have {result.updates:,} updates; early stopping saved {saved:,} "
            f"({saved / result.updates:.0%})."
        )
    yield text
    shares: Mapping[str, float] = facts["importance"].get("avg", {})
    if len(shares) > 1:
        listed = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        count = result.count("done")
        yield f"What mattered for Avg (share of the variance): {listed}. {count} configurations give only a hint."


def settings(hyper: Mapping[str, Scalar]) -> str:
    """Return hyperparameters as a table shows them."""
    return ", ".join(f"{name}={_number(value)}" for name, value in hyper.items())


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _value(value: Any) -> TableCell:
    if value is None:
        return TableCell("-")
    if isinstance(value, str | bool):
        return TableCell(str(value), tone="text")
    return TableCell(_number(value), value, says=str(value))


def _percent(value: float | None) -> TableCell:
    return TableCell("-") if value is None else TableCell(f"{100 * value:.2f}", value)


def _short(text: str) -> str:
    text = " ".join(shareable_reason(text).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
