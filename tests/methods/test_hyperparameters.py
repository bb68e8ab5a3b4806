"""What holds for the hyperparameters of every built-in method."""

from __future__ import annotations

import pytest

from bench import Method
from bench.methods.dare import DARE
from bench.methods.dora import DoRA
from bench.methods.l2 import L2
from bench.methods.lora import LoRA
from bench.methods.lorasculpt import LoRASculpt
from bench.methods.model_tailor import ModelTailor
from bench.methods.orth_reg import OrthReg
from bench.plugins.hyperparameters import field_name, ranges, values

METHODS = (LoRA, DoRA, L2, OrthReg, DARE, ModelTailor, LoRASculpt)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_each_default_lies_in_its_search_range_and_that_in_what_is_valid(method: type[Method]) -> None:
    defaults = values(method())

    for name, span in ranges(method).items():
        default = defaults[name]
        if span.low is not None and span.high is not None and isinstance(default, float):
            assert span.low <= default <= span.high
            assert span.minimum is None or span.minimum <= span.low
            assert span.maximum is None or span.high <= span.maximum
        assert not span.choices or default in span.choices


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_off_names_hyperparameters_and_modes_are_not_searched(method: type[Method]) -> None:
    assert set(method.off) <= set(ranges(method))
    assert not any(span.searched for span in ranges(method).values() if span.choices)


def test_the_papers_s_is_the_density_of_lorasculpt() -> None:
    assert field_name(LoRASculpt, "s") == "density"
