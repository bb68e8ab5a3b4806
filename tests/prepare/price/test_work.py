"""How long what is left takes, worked by hand."""

import pytest

from bench.prepare.price import work
from bench.prepare.price.rates import REFERENCE, Fleet
from bench.prepare.price.work import lane_count, makespan


@pytest.mark.parametrize(("most", "lanes"), [(None, 3), (2, 2), (9, 3), (0, 1)])
def test_a_machine_has_a_lane_for_every_trials_devices_and_the_command_may_ask_for_fewer(
    most: int | None, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "cores", lambda: 6)

    assert lane_count(None, 2, most) == lanes
    assert lane_count(Fleet(REFERENCE, 7), 2, most) == lanes
    assert lane_count(Fleet(REFERENCE, 1), 2, most) == 1


def test_children_wait_for_their_parents_and_lanes_for_nobody() -> None:
    items = [("a", None, 3.0), ("b", None, 1.0), ("c", None, 1.0), ("d", "a", 2.0)]

    assert makespan(items, 1) == 7.0
    assert makespan(items, 2) == 5.0  # b and c beside a, then d after it
    assert makespan(items, 9) == 5.0
    assert makespan([], 2) == 0.0
