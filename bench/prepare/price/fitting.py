"""Choose the options with which methods fit the memory of a GPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.prepare.price.quote import Quote


@dataclass(frozen=True, slots=True)
class Fit:
    """The ``options`` with which the methods fit, and the methods that fit with no options."""

    options: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()


def fitting_options(quote: Quote, methods: Iterable[str], rank: int) -> Fit:
    """Return the options with which methods fit a GPU of the fleet at a rank; empty without a fleet.

    Checkpointing is chosen only if a method does not fit without it, because it costs another forward pass.
    """
    if quote.fleet is None:
        return Fit()
    memory, unfit = quote.fleet.gpu.memory_bytes, []
    sizes: list[tuple[int, int]] = []
    for name in methods:
        plain, saving = (quote.footprint(name, rank, checkpointing=on) for on in (False, True))
        if plain.trained:
            pair = (plain.largest(memory, quote.micro_batch), saving.largest(memory, quote.micro_batch))
            sizes.append(pair) if any(pair) else unfit.append(name)
        elif plain.total(0) > memory:
            unfit.append(name)
    options: list[str] = []
    if sizes:
        checkpointing = quote.resources.gradient_checkpointing or min(plain for plain, _ in sizes) == 0
        options += ["--gradient-checkpointing"] if checkpointing else []
        micro_batch = min(pair[checkpointing] for pair in sizes)
        options += ["--micro-batch", str(micro_batch)] if micro_batch < quote.share else []
    most = quote.evaluation.largest(memory, count := quote.resources.eval_batch_size)
    options += ["--eval-batch", str(most)] if 0 < most < count else []
    return Fit(tuple(options), tuple(unfit) if most else ("evaluation", *unfit))
