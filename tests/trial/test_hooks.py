"""Every hook of a method is refused if it returns something else than its contract says, with file, line and words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from bench.checks.runs import Watched, train
from bench.checks.tiny import RECIPE, tiny
from bench.errors import PluginError
from bench.model.change import Change
from bench.plugins.method import Dimensions, EditMethod
from bench.plugins.registry import Registry
from bench.trial.edit import edit
from bench.trial.hooks import called

LoRA = Registry().method("lora")


@dataclass(kw_only=True)
class Odd(LoRA):  # type: ignore[valid-type, misc]
    """LoRA; a test gives it a hook that returns something odd."""

    name: ClassVar[str] = "odd"


@dataclass(kw_only=True)
class OddEdit(EditMethod):
    """An edit that returns None."""

    name: ClassVar[str] = "odd_edit"
    paper: ClassVar[str] = "none"

    def edit(self, change: Any, context: Any) -> Any:
        return None


def returns(value: object) -> Callable[..., object]:
    def hook(self: object, *arguments: object) -> object:
        return value

    return hook


@pytest.mark.parametrize(
    ("hook", "value", "words"),
    [
        ("adapt", None, "adapt must return the model to train, a torch.nn.Module, it returned None"),
        ("change", {}, "change must return a bench.Change, it returned dict"),
        ("mix", None, "mix must return a list of example numbers, it returned None"),
        ("mix", torch.zeros(8), "mix must return a list of example numbers, it returned torch.Tensor"),
        ("mix", [0.5] * 8, "mix must return a list of example numbers, it returned float among them"),
        ("mix", [0] * 7, "mix must return 8 example numbers, as many as it was given, it returned 7"),
        ("mix", [144] * 8, "mix must return numbers of order and of the sources, it returned 144"),
        ("mix", [-1] * 8, "mix must return numbers of order and of the sources, it returned -1"),
        ("on_batch", "a", "on_batch must return nothing, because it acts in place, it returned str"),
        ("backward", 1.0, "backward must return nothing, because it acts in place, it returned float"),
        ("penalty", np.float64(1), "penalty must return a tensor of one number, or None, it returned numpy.float64"),
        ("penalty", torch.zeros(2, 3), "or None, it returned a tensor of shape [2, 3]"),
        ("penalty", torch.zeros(()), "it returned a tensor that depends on no trained weight"),
        ("on_gradients", [], "on_gradients must return nothing, because it acts in place, it returned list"),
        ("on_update", torch.zeros(1), "on_update must return nothing, because it acts in place, it returned torch.Ten"),
    ],
)
@pytest.mark.parametrize("watched", [False, True])
def test_a_wrong_return_of_a_training_is_told_in_words(
    hook: str, value: object, words: str, watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Odd, hook, returns(value))
    method = Odd()

    with pytest.raises(PluginError) as caught:
        train(Watched(inner=method) if watched else method, recipe=replace(RECIPE, updates=1))

    line = returns.__code__.co_firstlineno + 1
    assert str(caught.value).startswith(f"test_hooks.py:{line} in hook: ")
    assert words in str(caught.value)


def test_a_wrong_return_of_an_edit_is_told_in_words() -> None:
    method = OddEdit()

    with pytest.raises(PluginError, match=r"in edit: edit must return a bench\.Change, it returned None"):
        edit(method, Change({}), 0, RECIPE, tiny().train)


@pytest.mark.parametrize(
    ("hook", "value", "words"),
    [
        ("memory", 5, "memory must return whole numbers of bytes by name, it returned int"),
        ("memory", {"mask": 0.5}, "it returned 0.5 for 'mask'"),
        ("change_bytes", "12", "change_bytes must return a whole number of bytes, or None, it returned str"),
        ("graphs", 0, "graphs must return a whole number above 0, it returned 0"),
        ("graphs", 1.5, "graphs must return a whole number above 0, it returned float"),
        ("slowdown", None, "slowdown must return a number above 0, it returned None"),
        ("slowdown", 0, "slowdown must return a number above 0, it returned 0"),
        ("slowdown", float("nan"), "slowdown must return a number above 0, it returned nan"),
    ],
)
def test_a_wrong_price_is_told_in_words(hook: str, value: object, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, hook, returns(value))
    given = () if hook in ("slowdown", "graphs") else (Dimensions((), 0, 2, 8),)

    with pytest.raises(PluginError) as caught:
        called(getattr(Odd(), hook), *given)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"), [(-1, "it returned -1"), (2.5, "it returned float"), (True, "it returned bool")]
)
def test_a_wrong_number_of_captured_examples_is_told_in_words(
    value: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OddEdit, "captured", returns(value))

    with pytest.raises(PluginError, match=f"captured must return a whole number, 0 or more, {words}"):
        called(OddEdit().captured)
