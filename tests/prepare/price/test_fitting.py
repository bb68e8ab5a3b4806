"""With which options a run fits, on footprints of round numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from bench.prepare.price.fitting import Fit, fit
from bench.prepare.price.memory import Footprint
from bench.prepare.price.rates import Fleet, Gpu
from bench.spec import Execution

SMALL = Footprint("small", 8, 1, {"base": 10, "activations": 0}, {"activations": 2})  # 10 + 2 m
LARGE = Footprint("large", 8, 1, {"base": 10, "activations": 95}, {"activations": 2})  # never below 107
LARGE_SAVING = Footprint("large", 8, 1, {"base": 10, "activations": 10}, {"activations": 1})  # 20 + m
EDIT = Footprint("edit", 8, 0, {"base": 10}, own={"inputs": 200})


@dataclass
class Quoted:
    """What fit reads of a quote."""

    memory: int = 30
    execution: Execution = field(default_factory=lambda: Execution(eval_batch_size=4))
    share: int = 16
    micro_batch: int = 16
    footprints: Mapping[str, tuple[Footprint, Footprint]] = field(
        default_factory=lambda: {"small": (SMALL, SMALL), "large": (LARGE, LARGE_SAVING), "edit": (EDIT, EDIT)}
    )
    evaluation: Footprint = field(default_factory=lambda: Footprint("evaluation", 0, 0, {"cache": 10}, {"cache": 8}))

    @property
    def fleet(self) -> Fleet:
        return Fleet(Gpu("odd", self.memory, None), 1)

    def footprint(self, name: str, rank: int, *, checkpointing: bool) -> Footprint:
        return self.footprints[name][checkpointing]


@pytest.mark.parametrize(
    ("quoted", "methods", "expected"),
    [
        (Quoted(), ["small"], Fit(("--micro-batch", "10", "--eval-batch", "2"))),
        (Quoted(memory=42), ["small"], Fit()),
        # the large one needs checkpointing, and then holds 22 - of the 16 that are asked for
        (Quoted(memory=42), ["small", "large"], Fit(("--gradient-checkpointing",))),
        (Quoted(memory=30), ["large"], Fit(("--gradient-checkpointing", "--micro-batch", "10", "--eval-batch", "2"))),
        (Quoted(memory=42), ["small", "edit"], Fit((), ("edit",))),
        (Quoted(memory=15), ["large"], Fit((), ("evaluation", "large"))),
        (Quoted(memory=300, micro_batch=2), ["small", "edit"], Fit(("--micro-batch", "2"))),
        (
            Quoted(memory=300, execution=Execution(eval_batch_size=4, gradient_checkpointing=True)),
            ["small"],
            Fit(("--gradient-checkpointing",)),
        ),
    ],
)
def test_options_make_it_fit(quoted: Quoted, methods: list[str], expected: Fit) -> None:
    assert fit(quoted, methods, 8) == expected  # type: ignore[arg-type]
