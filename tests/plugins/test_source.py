import ast
from pathlib import Path

from bench.plugins.registry import run_file
from bench.plugins.source import of_plugin

PLAIN = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING
from bench import TrainMethod
if TYPE_CHECKING:
    from torch import Tensor
def half(value: Tensor) -> Tensor:
    return value / 2
@dataclass
class Mine(TrainMethod):
    """Mine."""
    name = "mine"
    def penalty(self, step):
        return half(step.loss)
'''
PRICED = (
    PLAIN.replace(
        "    from torch import Tensor\n",
        "    from collections.abc import Mapping\n    from torch import Tensor\n    from bench import Dimensions\n",
    )
    + """
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        return {"mine": self._size(dimensions)}
    def _size(self, dimensions):
        return 4 * _layers(dimensions)
def _layers(dimensions):
    return len(dimensions.layers)
"""
)


def digest_of(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.py"
    ast.parse(text)
    path.write_text(text, encoding="utf-8")
    return of_plugin(run_file(path).Mine)


def test_what_a_method_says_of_its_price_is_no_part_of_its_id(tmp_path: Path) -> None:
    assert digest_of(tmp_path, "priced", PRICED) == digest_of(tmp_path, "plain", PLAIN)


def test_neither_is_what_its_time_is_priced_by_nor_whether_all_leaves_it_out(tmp_path: Path) -> None:
    quick = PLAIN.replace("import TYPE_CHECKING", "import TYPE_CHECKING, ClassVar")
    slow = quick.replace('name = "mine"', 'name = "mine"\n    trivial: ClassVar[bool] = True')
    slow += "    def slowdown(self):\n        return 2.0\n    def captured(self):\n        return 128\n"

    assert digest_of(tmp_path, "slow", slow) == digest_of(tmp_path, "quick", quick)


def test_neither_is_which_replies_have_the_form_that_a_task_asks_for(tmp_path: Path) -> None:
    plain = (
        "from bench import Task\nclass Mine(Task):\n"
        "    def examples(self, split):\n        return []\n"
        "    def score(self, examples, predictions):\n        return {}\n"
    )
    formed = plain + "    def follows(self, example, prediction):\n        return _short(prediction)\n"
    formed += "def _short(text):\n    return len(text) < 3\n"

    assert digest_of(tmp_path, "formed", formed) == digest_of(tmp_path, "unformed", plain)


def test_all_else_is(tmp_path: Path) -> None:
    other = PRICED.replace("value / 2", "value / 3")
    used = PRICED.replace("return half(step.loss)", "return self._size(step)")

    digests = {digest_of(tmp_path, f"m{at}", text) for at, text in enumerate((PRICED, other, used))}

    assert len(digests) == 3
