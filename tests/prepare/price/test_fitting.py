"""The options with which methods fit the memory of a GPU."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from bench.prepare.price.draft import Draft
from bench.prepare.price.fitting import Fit, fitted, fitting_options
from bench.prepare.price.memory import Footprint
from bench.prepare.price.rates import (
    GPUS,
    Fleet,
    GpuModel,
)
from bench.prepare.price.text import lines
from bench.values.resources import Resources
from tests.making.quotes import quoted

SMALL = Footprint("small", 8, 1, {"base": 10, "activations": 0}, {"activations": 2})  # 10 + 2 m
LARGE = Footprint("large", 8, 1, {"base": 10, "activations": 95}, {"activations": 2})  # never below 107
LARGE_SAVING = Footprint("large", 8, 1, {"base": 10, "activations": 10}, {"activations": 1})  # 20 + m
LARGE_HALF = Footprint("large", 8, 1, {"base": 10, "activations": 20}, {"activations": 1})  # 30 + m
EDIT = Footprint("edit", 8, 0, {"base": 10}, own={"inputs": 200})


@dataclass
class Quoted:
    """What fitting_options reads of a quote."""

    memory: int = 30
    resources: Resources = field(default_factory=lambda: Resources(eval_batch_size=4))
    share: int = 16
    micro_batch: int = 16
    footprints: Mapping[str, Sequence[Footprint]] = field(  # by the number of plain blocks, of two
        default_factory=lambda: {"small": [SMALL] * 3, "large": [LARGE_SAVING, LARGE_HALF, LARGE], "edit": [EDIT] * 3}
    )
    blueprint: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(blocks=2))
    evaluation: Footprint = field(default_factory=lambda: Footprint("evaluation", 0, 0, {"cache": 10}, {"cache": 8}))

    @property
    def fleet(self) -> Fleet:
        return Fleet(GpuModel("odd", self.memory, None), 1)

    @property
    def plain_blocks(self) -> int:
        return 2 if self.resources.plain_blocks is None else self.resources.plain_blocks

    def footprint(self, name: str, rank: int, *, plain: int | None = None) -> Footprint:
        return self.footprints[name][self.plain_blocks if plain is None else plain]


@pytest.mark.parametrize(
    ("quoted", "methods", "expected"),
    [
        (Quoted(), ["small"], Fit(("--micro-batch", "10", "--eval-batch", "2"))),
        (Quoted(memory=42), ["small"], Fit()),
        # the large one needs checkpointing of both blocks to hold the 16 that are asked for, or of one
        (Quoted(memory=42), ["small", "large"], Fit(("--gradient-checkpointing",))),
        (Quoted(memory=50), ["small", "large"], Fit(("--gradient-checkpointing", "1"))),
        (Quoted(memory=30), ["large"], Fit(("--gradient-checkpointing", "--micro-batch", "10", "--eval-batch", "2"))),
        (Quoted(memory=42), ["small", "edit"], Fit((), ("edit",))),
        (Quoted(memory=15), ["large"], Fit((), ("evaluation", "large"))),
        (Quoted(memory=300, micro_batch=2), ["small", "edit"], Fit(("--micro-batch", "2"))),
        (
            Quoted(memory=300, resources=Resources(eval_batch_size=4, plain_blocks=0)),
            ["small"],
            Fit(("--gradient-checkpointing",)),
        ),
        (  # what is asked for stays as it is if one example fits
            Quoted(memory=40, resources=Resources(eval_batch_size=3, plain_blocks=1)),
            ["large"],
            Fit(("--gradient-checkpointing", "1", "--micro-batch", "10")),
        ),
        (  # and else more blocks are checkpointed
            Quoted(memory=30, resources=Resources(eval_batch_size=2, plain_blocks=1)),
            ["large"],
            Fit(("--gradient-checkpointing", "--micro-batch", "10")),
        ),
    ],
)
def test_options_make_it_fit(quoted: Quoted, methods: list[str], expected: Fit) -> None:
    assert fitting_options(quoted, methods, 8) == expected  # type: ignore[arg-type]


@pytest.mark.slow
def test_auto_checkpoints_the_fewest_blocks_with_which_every_method_fits(drafted: Callable[..., Draft]) -> None:
    found = drafted("--methods", "lora,dora", "--ranks", "64", "--targets", "iconqa")
    card = GPUS["A100 80GB"]
    quote = quoted(found, Fleet(card, 1))

    plain = fitted(quote).plain_blocks

    assert plain is not None
    assert 0 < plain < quote.blueprint.blocks
    sizes = {name: quote.footprint(name, 64, plain=plain).total(16) for name in ("lora", "dora")}
    assert max(sizes.values()) == sizes["dora"] <= card.memory_bytes
    assert quote.footprint("dora", 64, plain=plain + 1).total(16) > card.memory_bytes
    chosen = replace(quote, resources=fitted(quote))
    assert fitting_options(chosen, ("lora", "dora"), 64).options == ("--gradient-checkpointing", str(plain))
    assert f"with checkpointing of all but the first {plain} blocks" in "\n".join(lines(chosen))
    for name, expected in (("H200", None), ("L4", 0)):
        assert fitted(replace(quote, fleet=Fleet(GPUS[name], 1))).plain_blocks == expected
    learnt = frozenset(job.trial.id for job in quote.plan.jobs if job.trial.method == "dora")
    rest = fitted(replace(quote, plan=replace(quote.plan, learnt=learnt))).plain_blocks
    assert rest is None or rest > plain  # LoRA alone is left
    assert fitted(replace(quote, fleet=None)).plain_blocks is None


@pytest.mark.slow
def test_a_smaller_micro_batch_leaves_room_for_more_plain_blocks(drafted: Callable[..., Draft]) -> None:
    quote = quoted(drafted("--methods", "lora", "--ranks", "64", "--targets", "iconqa"), Fleet(GPUS["L40S"], 1))

    found = [fitted(replace(quote, resources=Resources(micro_batch_size=size))).plain_blocks for size in (16, 8, 4)]

    assert found[0] < found[1] < quote.blueprint.blocks  # type: ignore[operator]
    assert found[2] is None
