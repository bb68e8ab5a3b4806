from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.errors import PluginError, UsageError
from bench.plugins import registry
from bench.plugins.registry import BUILT_IN_METHODS, ZERO_SHOT, Registry

METHOD = '''
"""A method."""
from dataclasses import dataclass
from typing import ClassVar
from bench import TrainMethod

@dataclass(kw_only=True)
class Mine(TrainMethod):
    """Mine."""
    name: ClassVar[str] = "mine"
    paper: ClassVar[str] = "none"
    def adapt(self, model, rank, recipe):
        return model
    def change(self, model):
        return {}
'''


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_the_seven_methods_and_the_zero_shot_row_are_found() -> None:
    assert set(Registry().names("method")) >= {*BUILT_IN_METHODS, ZERO_SHOT}


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match=r"No method named 'lorra'. Did you mean 'lora'"):
        Registry().method("lorra")


def test_a_paper_that_is_none_is_an_error_with_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = EntryPoint("odd", "math:pi", "bench.papers")
    monkeypatch.setattr(registry, "installed", lambda kind: {"odd": (odd,)})

    with pytest.raises(PluginError, match=r"The paper 'odd' is 3\.14.*, not a bench\.Paper\."):
        Registry().paper("odd")


def test_a_file_gives_its_plugins(tmp_path: Path) -> None:
    registry = Registry()

    assert registry.add_file(write(tmp_path, METHOD)) == ("mine",)
    assert registry.method("mine").name == "mine"
    assert "mine" in registry.names("method")
    assert registry.files == (tmp_path / "mine.py",)


def test_a_file_is_known_to_the_registry_that_it_was_added_to_and_to_no_other(tmp_path: Path) -> None:
    registry = Registry([write(tmp_path, METHOD)])

    assert "mine" in registry.names("method")
    assert "mine" not in Registry().names("method")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        Registry().add_file(tmp_path / "none.py")


def test_a_file_that_fails_to_import_is_an_error_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"cannot be imported: ModuleNotFoundError.*nowhere"):
        Registry().add_file(write(tmp_path, "import nowhere"))


def test_a_file_without_a_plugin_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="defines no method or task"):
        Registry().add_file(write(tmp_path, "x = 1"))


def test_a_misspelt_hook_is_an_error_with_the_right_name(tmp_path: Path) -> None:
    text = METHOD + "    def on_gradient(self, step):\n        pass\n"

    with pytest.raises(PluginError, match=r"'on_gradient', which nothing calls. Did you mean 'on_gradients'"):
        Registry().add_file(write(tmp_path, text))


def test_a_file_may_not_take_a_built_in_name(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="already"):
        Registry().add_file(write(tmp_path, METHOD.replace('"mine"', '"lora"')))


def test_a_missing_method_of_the_contract_is_named(tmp_path: Path) -> None:
    text = METHOD.split("    def change")[0]

    with pytest.raises(PluginError, match="lacks change"):
        Registry().add_file(write(tmp_path, text))
