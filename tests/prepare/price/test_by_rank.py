"""Of many ranks a few are measured, and the others are read off a line."""

import pytest

from bench.plan.suite import MICRO
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.prepare.price.blueprint import Adapted, Blueprint
from bench.prepare.price.by_rank import by_rank


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "dora", "mixlora"])
def test_what_is_read_off_the_line_is_what_would_be_measured(name: str) -> None:
    blueprint, method = Blueprint.of(MICRO.model, MICRO.folder), Registry().method(name)()
    assert isinstance(method, TrainMethod)
    ranks = (8, 12, 16, 20, 24, 32, 40)

    def measure(rank: int) -> Adapted:
        return blueprint.adapt(method, rank, MICRO.recipe, 32)

    assert by_rank(ranks, measure) == {rank: measure(rank) for rank in ranks}


@pytest.mark.parametrize(("count", "measured"), [(1, 1), (5, 5), (6, 5), (64, 5)])
def test_five_of_many_ranks_are_measured(count: int, measured: int) -> None:
    ranks = list[int]()

    def measure(rank: int) -> Adapted:
        ranks.append(rank)
        return Adapted(3 * rank + 1, 7, 2 * rank)

    found = by_rank(range(1, count + 1), measure)

    assert list(found) == list(range(1, count + 1))
    assert all(item == Adapted(3 * rank + 1, 7, 2 * rank) for rank, item in found.items())
    assert len(ranks) == len(set(ranks)) == measured


@pytest.mark.parametrize("share", [2, 3, 8, 31])
def test_every_rank_is_measured_if_a_method_rounds_a_share_of_its_rank(share: int) -> None:
    found = by_rank(range(1, 65), lambda rank: Adapted(rank // share, 0, 0))

    assert found == {rank: Adapted(rank // share, 0, 0) for rank in range(1, 65)}
