import json
from functools import partial

import pytest

from bench.values.canonical import canonical, canonical_frozen, canonical_mapping, canonical_object


@pytest.mark.parametrize("value", [{"b": 1.5, "a": [None, True, "ä\0"]}, 7, -1, True, None, "x", 0.1, {}])
def test_canonical_json_is_sorted_and_has_no_spaces(value: object) -> None:
    assert canonical(value) == json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def test_an_infinite_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"lr": float("inf")})


def test_an_object_of_texts_is_the_object_of_their_values() -> None:
    value = {"rank": 2, "hyper": {"lr": None}, "code": "c"}

    assert canonical_object({name: canonical(item) for name, item in value.items()}) == canonical(value)


def test_values_that_are_equal_in_python_but_not_in_json_keep_their_texts() -> None:
    values: list[object] = [1, 1.0, True, 0.0, -0.0, 0, False]

    assert [canonical_mapping({"x": value}) for value in values] == [canonical({"x": value}) for value in values]


def test_a_mapping_that_has_changed_has_another_text() -> None:
    mapping: dict[str, object] = {"lr": 0.1}
    before = canonical_mapping(mapping)

    mapping["lr"] = 0.2

    assert (before, canonical_mapping(mapping)) == ('{"lr":0.1}', '{"lr":0.2}')


def test_a_new_object_never_gets_the_text_of_one_that_is_gone() -> None:
    texts = list[str]()
    for number in range(5000):
        texts.append(canonical_frozen(value := (number,), partial(tuple[int], value)))

    assert texts == [f"[{number}]" for number in range(5000)]
