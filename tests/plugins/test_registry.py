from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.errors import PluginError, UsageError
from bench.plugins import registry
from bench.plugins.registry import Registry

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
    path.write_text(text, encoding="utf-8")
    return path


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match=r"No method named 'lorra'. Did you mean 'lora'"):
        Registry().method("lorra")


def test_a_paper_that_is_none_is_an_error_with_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = EntryPoint("odd", "math:pi", "bench.papers")
    monkeypatch.setattr(registry, "installed", lambda kind: {"odd": (odd,)})

    with pytest.raises(
        PluginError,
        match=r"'odd' is 3\.14.*, not a bench\.Paper or a .*SequencePaper\. Let its entry point, math:pi, name one\.$",
    ):
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
    with pytest.raises(PluginError, match=r"^mine\.py:1: ModuleNotFoundError.*nowhere.*mine\.py cannot be imported\."):
        Registry().add_file(write(tmp_path, "import nowhere"))


def test_a_file_without_a_plugin_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="defines no method or task"):
        Registry().add_file(write(tmp_path, "x = 1"))


def test_a_class_with_an_underscore_is_a_base_and_no_plugin(tmp_path: Path) -> None:
    derived = METHOD.replace("class Mine(TrainMethod)", "class _Shared(TrainMethod):\n    pass\n\nclass Mine(_Shared)")
    assert derived != METHOD

    assert Registry().add_file(write(tmp_path, derived)) == ("mine",)


def test_a_misspelt_hook_is_an_error_with_the_right_name(tmp_path: Path) -> None:
    text = METHOD + "    def on_gradient(self, step):\n        pass\n"

    with pytest.raises(PluginError, match=r"'on_gradient', which nothing calls. Did you mean 'on_gradients'"):
        Registry().add_file(write(tmp_path, text))


def test_a_file_may_not_take_a_built_in_name(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="already"):
        Registry().add_file(write(tmp_path, METHOD.replace('"mine"', '"lora"')))


def test_two_files_may_not_define_plugins_of_one_name(tmp_path: Path) -> None:
    first, second = (tmp_path / name / "mine.py" for name in ("a", "b"))
    for path in (first, second):
        path.parent.mkdir()
        path.write_text(METHOD, encoding="utf-8")

    with pytest.raises(PluginError) as caught:
        Registry([first, second])

    assert str(caught.value) == (
        f"{second} defines the method 'mine', which {first} defines too. Give one of them another name."
    )


def test_two_classes_of_a_file_may_not_have_one_name(tmp_path: Path) -> None:
    text = METHOD + "\n\nclass Other(Mine):\n    name: ClassVar[str] = 'mine'\n"

    with pytest.raises(PluginError, match=r"mine\.py defines the method 'mine' twice, as Mine and Other\. Give one"):
        Registry().add_file(write(tmp_path, text))


def test_a_class_with_two_names_in_its_file_is_one_plugin_and_so_is_a_file_that_is_given_twice(tmp_path: Path) -> None:
    path = write(tmp_path, METHOD + "\n\nAlias = Mine\n")
    registry = Registry([path])

    assert registry.add_file(path) == ("mine",)
    assert registry.files == (path,)


def test_a_missing_method_of_the_contract_is_named(tmp_path: Path) -> None:
    text = METHOD.split("    def change")[0]

    with pytest.raises(PluginError, match=r"method 'mine' lacks change\. Write def change\(self, model\)\.$"):
        Registry().add_file(write(tmp_path, text))


def test_a_syntax_error_is_told_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(
        PluginError, match=r"^mine\.py:2: SyntaxError: invalid syntax\. .*mine\.py cannot be imported\.$"
    ):
        Registry().add_file(write(tmp_path, "x = 1\ndef f(:\n"))


def test_a_file_that_would_end_the_process_is_an_error_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"^mine\.py:2: it raises SystemExit"):
        Registry().add_file(write(tmp_path, "import sys\nsys.exit(0)\n"))


def test_a_method_without_a_name_of_its_own_is_told_to_add_one(tmp_path: Path) -> None:
    text = METHOD.replace("(TrainMethod)", "(LoRA)").replace('    name: ClassVar[str] = "mine"\n', "")
    text = text.replace("from bench import TrainMethod", "from bench.methods.lora import LoRA")

    with pytest.raises(PluginError, match=r"Mine sets no name \(it inherits 'lora'\)\. Add name"):
        Registry().add_file(write(tmp_path, text))


@pytest.mark.parametrize("name", ["name", "paper"])
def test_a_class_variable_that_became_a_field_is_refused(name: str, tmp_path: Path) -> None:
    text = METHOD.replace(f"{name}: ClassVar[str]", f"{name}: str")

    with pytest.raises(PluginError, match=rf"Mine\.{name} is a field.* Write {name}: ClassVar\[str\] = "):
        Registry().add_file(write(tmp_path, text))


def test_a_hook_that_takes_other_arguments_is_refused_with_its_line(tmp_path: Path) -> None:
    text = METHOD + "    def penalty(self):\n        pass\n"

    with pytest.raises(
        PluginError, match=r"^mine\.py:16 in penalty: the hook takes \(self\)\. Write def penalty\(self, step"
    ):
        Registry().add_file(write(tmp_path, text))


def test_a_hook_may_take_more_arguments_if_they_have_defaults(tmp_path: Path) -> None:
    text = METHOD + "    def penalty(self, step, weight=1.0, *others, **named):\n        pass\n"

    assert Registry().add_file(write(tmp_path, text)) == ("mine",)


def test_a_misspelt_option_of_hyper_is_told_with_the_right_one(tmp_path: Path) -> None:
    text = (
        METHOD.replace("import TrainMethod", "import TrainMethod, hyper") + "    share: float = hyper(0.5, min=0.0)\n"
    )

    with pytest.raises(PluginError, match=r"^mine\.py:16 in Mine: TypeError: .*'min'\. Did you mean 'minimum'"):
        Registry().add_file(write(tmp_path, text))


@pytest.mark.parametrize(("written", "meant"), [("LoRA", "lora"), ("DoRA", "dora"), ("LoRASculpt", "lorasculpt")])
def test_the_spelling_of_a_paper_gets_the_name(written: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        Registry().method(written)


def test_fields_without_dataclass_are_refused(tmp_path: Path) -> None:
    text = METHOD.replace("@dataclass(kw_only=True)\n", "").replace("import TrainMethod", "import TrainMethod, hyper")

    with pytest.raises(PluginError, match=r"Mine\.share is ignored\. Put @dataclass"):
        Registry().add_file(write(tmp_path, text + "    share: float = hyper(0.5)\n"))


@pytest.mark.parametrize("name", ["m" * 61, "\u00fc" * 31, "a/b"])
def test_a_name_after_which_no_folder_can_be_named_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="at most 60 and no slash, because folders are named after it"):
        Registry().add_file(write(tmp_path, METHOD.replace('"mine"', f'"{name}"')))
