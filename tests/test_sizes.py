import pytest

from bench.sizes import in_unit, readable_size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (19_500_000, "19.5 MB"), (6.6e9, "6.6 GB"), (2.5e15, "2500.0 TB")],
)
def test_a_size_is_shown_in_the_decimal_unit_that_suits_it(count: float, text: str) -> None:
    assert readable_size(count) == text


def test_memory_is_shown_in_binary_units_and_disks_in_decimal_ones() -> None:
    assert [in_unit(3 << 29, "GiB"), in_unit(3 << 19, "MiB", 0), in_unit(1_234_567, "MB", 2)] == [
        "1.5 GiB",
        "2 MiB",
        "1.23 MB",
    ]
