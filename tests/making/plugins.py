"""Methods that are LoRA with something done after every update, as files and as a class."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import ClassVar

from bench.plugins.method import Step
from bench.plugins.registry import Registry

LoRA = Registry().method("lora")

_HEAD = '''"""LoRA with something done after every update."""
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from torch import distributed
from bench import Step, TrainMethod, insert_lora, lora_change
'''
_METHOD = '''
@dataclass(kw_only=True)
class {title}(TrainMethod):
    """LoRA with a hook."""
    name: ClassVar[str] = "{name}"
    paper: ClassVar[str] = "none"
    def adapt(self, model, rank, recipe):
        return insert_lora(model, rank, recipe)
    def change(self, model):
        return lora_change(model)
    def on_update(self, step: Step) -> None:
{hook}
'''
# As the operating system would kill the last worker, once, after its first checkpoint.
KILLED_ONCE = """
mark = Path(__file__).with_name("killed")
last = not distributed.is_initialized() or distributed.get_rank() == distributed.get_world_size() - 1
if last and step.index == 55 and not mark.exists():
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""

# After its first checkpoint, waits until there is a file "go" beside the plugin.
WAITS = """
while step.index == 55 and not Path(__file__).with_name("go").exists():
    time.sleep(0.05)
"""


@dataclass(kw_only=True)
class Vandal(LoRA):  # type: ignore[valid-type, misc]
    """LoRA that also moves a frozen weight."""

    name: ClassVar[str] = "vandal"

    def on_update(self, step: Step) -> None:
        step.model.get_parameter("base_model.model.lm_head.weight").add_(0.01)


def add_methods(registry: Registry, path: Path, **hooks: str) -> None:
    """Write a file of methods by name, each with the body of its ``on_update``, and add it to a registry."""
    methods = [
        _METHOD.format(title=name.title(), name=name, hook=indent(dedent(hook).strip(), " " * 8))
        for name, hook in hooks.items()
    ]
    path.write_text(_HEAD + "".join(methods), encoding="utf-8")
    registry.add_file(path)
