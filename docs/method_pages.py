"""Write the tables of docs/methods.md and docs/methods/ from the classes: ``python docs/method_pages.py``.

A page has the text that people write, and blocks between two comments that this script writes: facts, options, costs
and results. In the table of options, the last column is written by people, and the script keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from bench.cli.plugin_facts import method_facts, searched_text, valid_text
from bench.plugins.method import Dimensions, EditMethod, LayerShape, Method, TrainMethod
from bench.plugins.registry import Registry

HERE = Path(__file__).parent
OVERVIEW = HERE / "methods.md"
PAGES = HERE / "methods"
CONTROLS = {  # of a sequence, next to which a method is read
    "lilora": "(lora independent)",
    "mtl_lora": "(lora joint)",
    "ortho_lora": "(lora joint)",
    "rewind": "(lora rewound after each stage)",
}
REFERENCES = ("zero_shot", "replay")  # rows with which methods are compared
KINDS = {
    "target": "Made for one target",
    "sequence": "Made for a sequence of tasks",
    "joint": "Made for joint training",
    "tool": "References and tools",
}

_BLOCK = re.compile(r"(<!-- (\w+): written by docs/method_pages\.py -->\n).*?(<!-- end -->)", re.DOTALL)
_HOOKS = ("adapt", "start", "mix", "on_batch", "backward", "penalty", "on_gradients", "on_update", "change", "keep")
_HOOKS += ("bank", "edit")
_LEARNING_RATE = "learning rate, except that of a connector that is tuned in full"

# LLaVA-1.5-7B: sizes of the decoder and the connector, and the length of an example with an image
_HIDDEN, _WIDE, _BLOCKS, _CONNECTOR, _TOKENS, _RANK = 4096, 11008, 32, 20_979_712, 672, 32
_ATTENTION, _MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj")

Block = Callable[[str], Iterator[str]]


def page(name: str) -> Path:
    """Return the file of a method's page."""
    return PAGES / f"{name}.md"


@cache
def registry() -> Registry:
    """Return the methods that are installed."""
    return Registry()


def names() -> tuple[str, ...]:
    """Return the names of all methods that have to have a page, in the order of the overview."""
    every = registry().names("method")
    return tuple(name for kind in KINDS for name in sorted(every, key=_place) if kind_of(name) == kind)


def kind_of(name: str) -> str:
    """Return the table of the overview to which a method belongs."""
    method = registry().method(name)
    return "tool" if method.trivial or name in REFERENCES else method.made_for


def _place(name: str) -> tuple[bool, bool, str]:
    """Order LoRA first, then the methods of the paper, then the others, each by name."""
    return name != "lora", "paper" not in method_facts(registry(), name)["in"], name


def updated(text: str, blocks: Mapping[str, Block]) -> str:
    """Return a page with every block written again; a block is given its old text."""
    return _BLOCK.sub(lambda m: m[1] + "\n".join(blocks[m[2]](m[0])) + "\n" + m[3], text)


def page_text(name: str, text: str) -> str:
    """Return the page of a method with its blocks written again."""
    own = {"facts": facts, "options": options, "costs": costs, "results": results, "chains": chains}
    return updated(text, {kind: partial(write, registry().method(name)) for kind, write in own.items()})


def overview_text(text: str) -> str:
    """Return the overview with its tables written again."""
    return updated(text, {kind: partial(catalogue, kind) for kind in KINDS})


def catalogue(kind: str, old: str) -> Iterator[str]:
    """Yield the table of one kind of methods; what a method does is written by people and kept."""
    written = _last_column(old)
    yield from ("| method | words | paper | what it does |", "|---|---|---|---|")
    for name in names():
        if kind_of(name) == kind:
            known = method_facts(registry(), name)
            words = ", ".join(f"`{word.removeprefix('sequence ')}`" for word in known["in"]) or "-"
            if kind == "target" and "sequence all" in known["in"]:
                words = "`all`, also of `bench sequence`"
            yield f"| [`{name}`](methods/{name}.md) | {words} | {known['paper']} | {written.get(name, '')} |"


def facts(method: type[Method], old: str) -> Iterator[str]:
    """Yield the table of what the class says of itself."""
    module = method.__module__.rpartition(".")[2]
    words = method_facts(registry(), method.name)["in"]
    alone = "`--methods installed`, or its name" if method.trivial and method.ranked else "its name alone"
    yield from ("| | |", "|---|---|")
    yield f"| paper | {method.paper} |"
    yield f"| code | [`{module}.py`](../../methods/{module}.py) |"
    yield f"| kind | {_kind(method)} |"
    yield "| ran on | `micro` and small models of the tests, and [never on a 7B model](../what-was-not-run.md) |"
    yield f"| meant by | {', '.join(f'`--methods {word}`' for word in words) or alone} |".replace(
        "`--methods sequence ", "`bench sequence --methods "
    )
    if hooks := [hook for hook in _HOOKS if _overrides(method, hook)]:
        yield f"| hooks | {', '.join(f'`{hook}`' for hook in hooks)} |"
    if issubclass(method, EditMethod | TrainMethod) and method.name != "lora":
        off = ", ".join(f"`{key}={_short(value)}`" for key, value in method.off.items())
        yield f"| equals its baseline with | {off or 'no setting'} |"


def _kind(method: type[Method]) -> str:
    if issubclass(method, EditMethod):
        return f"edits what `{method.parent}` has learnt"
    if not issubclass(method, TrainMethod):
        return "neither trains nor edits"
    joined = "" if method.merges else "; its change cannot be merged"
    return f"trains{joined}" if method.ranked else f"trains; a reference row, which is not ranked{joined}"


def _overrides(method: type[Method], hook: str) -> bool:
    base = TrainMethod if method.name == "lora" else registry().method("lora")
    if not issubclass(method, TrainMethod):
        return hook == "edit" and issubclass(method, EditMethod)
    return getattr(method, hook, None) is not getattr(base, hook, None)


def options(method: type[Method], old: str) -> Iterator[str]:
    """Yield the table of the hyperparameters; what one means is written by people and kept."""
    fields = method_facts(registry(), method.name)["fields"]
    written = {"lr": _LEARNING_RATE} | _last_column(old)
    yield from ("| name | default | valid | searched | meaning |", "|---|---|---|---|---|")
    for item in fields:
        default = "the recipe's" if item["name"] == "lr" else _short(item["default"])
        columns = (default, valid_text(item["valid"]), searched_text(item["searched"]), written.get(item["name"], ""))
        yield f"| `{item['name']}` | {' | '.join(columns)} |"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _last_column(table: str) -> dict[str, str]:
    """Return the last column of a table by the name in its first column."""
    rows = re.findall(r"^\| \[?`(\w+)`.*\| (.*?) ?\|$", table, re.MULTILINE)
    return {name: text for name, text in rows if text}


def costs(method: type[Method], old: str) -> Iterator[str]:
    """Yield the table of what the class declares of its costs on LLaVA-1.5-7B."""
    one, size = method(), dimensions(2 if method.made_for == "joint" else 1)
    yield from ("| | |", "|---|---|")
    if isinstance(one, TrainMethod):
        yield f"| time of an update | {'as LoRA' if one.slowdown() == 1 else f'{one.slowdown():g} times LoRA'} |"
        if one.graphs() > 1:
            yield f"| forward passes in memory at once | {one.graphs()} |"
    memory = ", ".join(f"{purpose} {_gib(size_)}" for purpose, size_ in one.memory(size).items() if size_)
    yield f"| memory of its own | {memory or 'none'} |"
    if (change := one.change_bytes(size)) is not None:
        yield f"| change of the adapted layers | {change / 1e6:,.0f} MB; LoRA's has {_lora_change() / 1e6:,.0f} MB |"
    if isinstance(one, TrainMethod) and one.left_bytes(size, 2):
        first, second = (f"{one.left_bytes(size, stage) / 1e6:,.0f}" for stage in (1, 2))
        when, each = ("", second) if method.made_for == "joint" else (" after stage 1, and 2", f"{first}, and {second}")
        yield f"| kept next to the change{when} | {each} MB |"


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _lora_change() -> int:
    size = dimensions(1)
    return 4 * size.factors(size.layers)


@cache
def dimensions(tasks: int) -> Dimensions:
    """Return the dimensions of LLaVA-1.5-7B at rank 32, with a connector that is tuned in full."""
    shapes = {role: (_HIDDEN, _HIDDEN) for role in _ATTENTION} | {role: (_WIDE, _HIDDEN) for role in _MLP}
    shapes["down_proj"] = (_HIDDEN, _WIDE)
    layers = tuple(
        LayerShape(f"model.language_model.layers.{block}.{role}.weight", *shape, block)
        for block in range(_BLOCKS)
        for role, shape in shapes.items()
    )
    return Dimensions(layers, _CONNECTOR, _RANK, _TOKENS, tasks)


def results(method: type[Method], old: str) -> Iterator[str]:
    """Yield a method's rows of the page of results on micro, next to LoRA's."""
    yield from ("| target | row | Source | Target | Avg | Avg - LoRA |", "|---|---|---:|---:|---:|---:|")
    for target, row, numbers in _rows("results-micro.md", r"^target (\w+)", columns=13):
        plain = row.removesuffix(" ‡")
        if plain.removesuffix(" tuned") in {method.name, "lora"} or plain == f"(lora {method.name})":
            scores = [" ".join(numbers[at : at + 2]) for at in (4, 6, 8)]
            gain = "-" if numbers[11] == "-" else f"{numbers[11]} {numbers[12]}"
            yield f"| `{target}` | {row} | {_plain(' | '.join(scores))} | {gain} |"


def chains(method: type[Method], old: str) -> Iterator[str]:
    """Yield a method's rows of the page of a sequence on micro, next to LoRA's."""
    yield from (
        "| order ends with | row | AP | AP - LoRA | BWT | Source | kept, MB |",
        "|---|---|---:|---:|---:|---:|---:|",
    )
    shown = {"lora", method.name, f"lora+{method.name}", f"(lora {method.name})", CONTROLS.get(method.name)}
    for target, row, numbers in _rows("results-sequences.md", r"^rank 32, order .*, (\w+)   suite", columns=10):
        if row.removesuffix(" ‡") in shown:
            ap, wide, *rest = numbers
            gain, rest = ("-", rest[1:]) if rest[0] == "-" else (f"{rest[0]} {rest[1]}", rest[2:])
            others = _plain(f"{rest[2]} | {rest[3]} | {rest[-1]}")
            yield f"| `{target}` | {row} | {_plain(ap)} {wide} | {gain} | {others} |"


def _plain(numbers: str) -> str:
    """Return numbers without the marks of the best and of ties with it."""
    return numbers.replace("=", "").replace("*", "")


def _rows(file: str, head: str, columns: int) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield the target, the row's name and the numbers of each row of the tables of a page."""
    target = ""
    for line in (HERE / file).read_text(encoding="utf-8").splitlines():
        if found := re.match(head, line):
            target = found[1]
        if target and (found := re.match(r" (\S.*?)  +(\S.*)$", line)):
            numbers = found[2].split()[1:] if file == "results-micro.md" else found[2].split()
            if len(numbers) >= columns - 1 and re.match(r"-?\d", numbers[0]):
                yield target, found[1], numbers
        if line.startswith("```") and line != "```text":
            target = ""


def main() -> None:
    """Write every page again."""
    for name in names():
        text = page(name).read_text(encoding="utf-8")
        page(name).write_text(page_text(name, text), encoding="utf-8")
    OVERVIEW.write_text(overview_text(OVERVIEW.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
