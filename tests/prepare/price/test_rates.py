"""Rates that follow from those that were measured."""

from collections.abc import Mapping

import pytest

from bench.prepare.price.rates import Rates


def declared(name: str) -> float:
    return 3.2 if name.startswith("mdgd") else 1.0


@pytest.mark.parametrize(
    ("methods", "plain"),
    [
        ({"mdgd": 1.0}, 3.2),
        ({"mdgd": 1.0, "dora": 2.0}, 3.2),  # dora looks slower than mdgd's declaration says, because it came first
        ({"mdgd": 1.0, "dora": 4.0}, 4.0),
        ({"mdgd": 2.0, "lora": 4.0}, 4.0),  # what was measured counts, and 2.0 x 3.2 does not
    ],
)
def test_the_rate_of_plain_lora_follows_from_what_was_measured(methods: Mapping[str, float], plain: float) -> None:
    rates = Rates.of_methods(methods, declared, 1.0, "by hand")

    assert rates.of("new") == pytest.approx(plain)
    assert rates.of("mdgd_gm", 3.2) == pytest.approx(plain / 3.2)
    assert rates.of("mdgd", 3.2) == methods["mdgd"]
