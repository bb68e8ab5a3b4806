from dataclasses import replace

from bench.plugins.registry import Registry
from bench.search.space import space
from bench.values.recipe import Recipe

RECIPE = Recipe(updates=2, batch_size=2, lr=1e-3, connector_lr=1e-4)


def test_every_hyperparameter_with_a_range_is_searched() -> None:
    assert list(space(Registry().method("lorasculpt"), RECIPE, {}).searched) == [
        "lr",
        "alpha",
        "omega",
        "density",
        "warmup",
    ]


def test_beta_is_searched_only_where_the_connector_carries_lora() -> None:
    method = Registry().method("lorasculpt")

    assert space(method, RECIPE, {}).left_out == {"beta": "acts only with --connector lora"}
    assert "beta" in space(method, replace(RECIPE, connector="lora"), {}).searched


def test_what_is_set_stays_as_it_is_set() -> None:
    found = space(Registry().method("dare"), RECIPE, {"drop_rate": 0.2})

    assert not found.searched
    assert found.left_out == {"drop_rate": "set by --set"}
