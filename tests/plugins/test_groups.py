from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from bench.plugins import groups
from bench.plugins.groups import all_methods, installed_methods, paper_methods, words_for
from bench.plugins.paper import compared_rows
from bench.plugins.registry import Registry, installed

PAPER = ("lora", "dora", "l2", "orth_reg", "model_tailor", "dare", "lorasculpt")


def test_paper_is_every_method_of_the_papers_table_in_its_order() -> None:
    rows = compared_rows(Registry().paper("lorasculpt"))

    assert paper_methods(Registry()) == PAPER
    assert {row.method for row in rows} - {*PAPER} == {"zero_shot"}


def test_all_is_the_papers_methods_and_then_every_other_ranked_one_of_this_package() -> None:
    found, registry = all_methods(Registry()), Registry()

    assert found[:7] == PAPER
    assert list(found[7:]) == sorted(found[7:])
    assert {"dac", "lines", "mdgd", "mdgd_gm", "mixlora"} <= {*found}
    left = {name for name in registry.names("method") if name not in found}
    assert left >= {"zero_shot", "rewind", "magnitude", "replay"}
    rows = [method for method in map(registry.method, left) if method.ranked and not method.trivial]
    assert {method.made_for for method in rows} <= {"sequence", "joint"}


def test_a_method_of_another_package_is_installed_and_not_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    before = installed("method")
    known = {name: entries for name, entries in before.items() if name in {*PAPER, "mdgd"}}
    foreign = EntryPoint("mdgd", before["mdgd"][0].value, "bench.methods")
    monkeypatch.setattr(groups, "installed", lambda kind: {**known, "mdgd": (foreign,)})

    assert all_methods(Registry()) == PAPER
    assert "mdgd" in installed_methods(Registry())


def test_a_method_that_is_added_to_this_package_joins_all_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    own = SimpleNamespace(value="anywhere:New", dist=SimpleNamespace(name="retain-bench"))
    monkeypatch.setattr(groups, "installed", lambda kind: {"new": (own,)})
    registry = Registry()
    monkeypatch.setattr(registry, "method", lambda name: SimpleNamespace(ranked=True, trivial=False, made_for="target"))

    assert all_methods(registry) == (*PAPER, "new")


def test_methods_are_named_by_the_shortest_words() -> None:
    registry = Registry()

    assert words_for(PAPER, registry) == "paper"
    assert words_for(all_methods(registry), registry) == "all"
    assert words_for(("lora", "dare"), registry) == "lora,dare"
