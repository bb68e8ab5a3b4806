"""Replay sees the share of old examples that it says, in equal parts, and the same ones however it is run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import UsageError
from bench.checks.runs import unequal
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.methods.lora import LoRA
from bench.methods.replay import Replay, equal_parts
from bench.plugins.hyperparameters import parse
from bench.trial.fit import Fitted, fit
from bench.trial.updates import MicroBatchSize, Update, schedule_updates

SOURCES = {"gqa": range(100, 110), "okvqa": range(110, 400), "textvqa": range(400, 900)}
HALF = replace(RECIPE, updates=8, dropout=0.0)


def mixed(share: float, count: int = 1000, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return list(Replay(share=share).mix([number % 100 for number in range(count)], SOURCES, generator))


def test_five_per_cent_of_what_a_training_sees_is_old_and_the_rest_stays_in_its_place() -> None:
    shown = mixed(Replay().share)

    old = [place for place, number in enumerate(shown) if number >= 100]
    assert len(shown) == 1000
    assert len(old) == 50
    assert all(number == place % 100 for place, number in enumerate(shown) if place not in old)
    assert max(old) - min(old) > 800  # all along the training


def test_the_sources_have_equal_parts_and_no_example_comes_twice_before_its_source_is_used_up() -> None:
    shown = mixed(0.101)  # 101 of 1,000
    counts = {name: Counter(number for number in shown if number in numbers) for name, numbers in SOURCES.items()}

    assert {name: count.total() for name, count in counts.items()} == {"gqa": 34, "okvqa": 34, "textvqa": 33}
    assert sorted(counts["gqa"].values()) == [3] * 6 + [4] * 4  # 34 draws of 10 examples
    assert set(counts["okvqa"].values()) == set(counts["textvqa"].values()) == {1}
    assert equal_parts(2, 3) == [1, 1, 0]


def test_the_draw_follows_from_the_seed() -> None:
    assert mixed(0.2, seed=1) == mixed(0.2, seed=1) != mixed(0.2, seed=2)


def test_the_ends_of_the_share_are_lora_and_old_examples_alone() -> None:
    assert mixed(0.0) == [number % 100 for number in range(1000)]
    assert min(mixed(1.0)) == 100


@pytest.mark.parametrize("text", ["-0.1", "1.01", "nan"])
def test_a_share_outside_0_to_1_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"replay.share") as caught:
        parse(Replay, "share", text)

    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_off_is_lora_bit_for_bit_and_the_target_has_the_permutations_of_lora() -> None:
    off, plain = (fit(method, RANK, 3, RECIPE, tiny().lessons) for method in (Replay(**Replay.off), LoRA()))
    assert unequal(off.change, plain.change) == []
    assert off.losses == plain.losses

    ours, theirs = (seen(schedule_updates(method, tiny().lessons, RECIPE, 3)) for method in (Replay(share=0.5), LoRA()))
    assert [mine for mine, _ in zip(ours, theirs, strict=True) if mine < 48] == [
        its for mine, its in zip(ours, theirs, strict=True) if mine < 48
    ]
    assert sum(number >= 48 for number in ours) == 24


@pytest.mark.slow
def test_any_micro_batch_sees_the_same_examples_and_makes_the_same_update() -> None:
    whole, parts = (
        fit(Replay(share=0.5), RANK, 0, HALF, tiny().lessons, micro_batch=MicroBatchSize(size)) for size in (8, 3)
    )

    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)


class _Killed(Exception):  # noqa: N818  it simulates a kill signal
    """Ends a training as a kill would."""


@pytest.mark.slow
def test_a_resumed_training_sees_the_examples_of_an_unbroken_one(tmp_path: Path) -> None:
    def die(index: int, total: int, loss: float) -> None:
        if index == 6:
            raise _Killed

    def trained(checkpoint: Path | None, progress: object = None) -> Fitted:
        how = {} if progress is None else {"progress": progress}
        return fit(Replay(share=0.5), RANK, 0, HALF, tiny().lessons, checkpoint=checkpoint, every=4, **how)  # type: ignore[arg-type]

    unbroken = trained(None)
    with pytest.raises(_Killed):
        trained(tmp_path / "checkpoint.pt", die)
    resumed = trained(tmp_path / "checkpoint.pt")

    assert resumed.losses == unbroken.losses
    assert unequal(resumed.change, unbroken.change) == []


def seen(updates: list[Update]) -> list[int]:
    return [number for update in updates for number in update.examples]
