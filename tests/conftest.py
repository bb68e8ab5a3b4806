"""A LLaVA small enough to build in milliseconds, and the loop that trains it; shared by all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from bench import Recipe, Step, Task, TrainMethod
from bench.checks.tiny import RECIPE, tiny
from bench.model.resident import Base
from bench.plan.suite import Suite
from bench.plugins.registry import Registry, installed
from bench.plugins.source import is_built_in
from bench.plugins.tasks import Tasks

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background: commands under test would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Let commands that tests start print what they print for users; only the processes of pytest need the variable."""
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        os.environ.pop("PYTHONWARNDEFAULTENCODING", None)


IMAGE_TOKEN, FIRST_WORD, VOCABULARY = 3, 4, 27  # of the checks' tokenizer
PATCHES = 4
LEFT_OUT = {"slow", "ray", "matrix"}  # the marks of tests that are not in make fast
UPDATES = 2  # that a test of make fast may train

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and it is the width of tables in a pipe

TinyLlava = Callable[[], nn.Module]


@pytest.fixture(autouse=True)
def _own_draws() -> None:
    """Let a test draw the same numbers whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _trains_little(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test of the inner loop that trains: it needs the mark ``slow``, or fewer updates."""
    if LEFT_OUT & {mark.name for mark in request.node.iter_markers()}:
        yield
        return
    taken: list[object] = []
    counting = register_optimizer_step_post_hook(lambda optimizer, *given: taken.append(None))
    yield
    counting.remove()
    assert len(taken) <= UPDATES, f"This test takes {len(taken)} updates. Mark it slow, or train less."


@pytest.fixture
def tiny_llava() -> TinyLlava:
    """Return a function that builds the checks' random LlavaForConditionalGeneration, the same every time."""

    def build() -> nn.Module:
        torch.manual_seed(0)  # adapters start alike
        return _whole(tiny().base)

    return build


@pytest.fixture
def recipe() -> Recipe:
    """Return a recipe of six updates without dropout."""
    return Recipe(updates=6, batch_size=2, lr=1e-2, connector_lr=1e-3, dropout=0.0)


def _whole(base: Base) -> nn.Module:
    """Return a base model with its vision tower in place."""
    model: Any = base.model
    model.model.vision_tower = base.tower
    return base.model


def _batch(seed: int = 0, size: int = 2) -> dict[str, torch.Tensor]:
    """Return a batch with one image per example, left-padded by one token in the first."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(FIRST_WORD, VOCABULARY, (size, 5), generator=generator)
    ids = torch.cat([text[:, :1], torch.full((size, PATCHES), IMAGE_TOKEN), text[:, 1:]], dim=1)
    mask = torch.ones_like(ids)
    mask[0, 0] = 0
    labels = ids.clone()
    labels[:, :-2] = -100
    pixels = torch.randn(size, 3, 16, 16, generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}


def _step(model: nn.Module, optimizer: Any = None, index: int = 0, total: int = 6) -> Step:
    """Return one update of ``model`` as a hook sees it, before any loss."""
    generator = torch.Generator().manual_seed(index)
    loss = torch.zeros(())
    return Step(index, total, model, {}, loss, optimizer, generator, lambda: nullcontext(model), lambda tensors: None)


def _train(
    method: TrainMethod,
    model: nn.Module,
    recipe: Recipe,
    after: Callable[[int, nn.Module], None] = lambda index, model: None,
    rank: int = 2,
) -> nn.Module:
    """Train as bench.trial.fit does, on random batches, and return the wrapped model."""
    torch.manual_seed(1)
    wrapped = method.adapt(model, rank, recipe).train()
    parameters = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=0.0)
    for index in range(recipe.updates):
        batch = _batch(index)
        loss = wrapped(**batch, use_cache=False).loss
        blank = _step(wrapped, optimizer, index, recipe.updates)
        step = Step(
            index,
            recipe.updates,
            wrapped,
            batch,
            loss,
            optimizer,
            blank.generator,
            blank.reference,
            blank.all_reduce,
        )
        method.backward(step)
        if (penalty := method.penalty(step)) is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
        method.on_gradients(step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            method.on_update(step)
        after(index, wrapped)
    return wrapped


@pytest.fixture
def tiny_batch() -> Callable[..., dict[str, torch.Tensor]]:
    """Return ``batch(seed=0, size=2)``."""
    return _batch


@pytest.fixture
def step_of() -> Callable[..., Step]:
    """Return ``step(model, optimizer=None, index=0, total=6)``."""
    return _step


@pytest.fixture
def train() -> Callable[..., nn.Module]:
    """Return ``train(method, model, recipe, after=..., rank=2)``."""
    return _train


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checks' random LLaVA, as a checkpoint on disk."""
    folder = tmp_path_factory.mktemp("tiny")
    base = tiny().base
    model: Any = _whole(base)
    model.save_pretrained(folder)
    base.processor.save_pretrained(folder)
    _align(folder / "model.safetensors")
    return folder


def _align(file: Path) -> None:
    """Start a file's tensors at a multiple of 64 bytes.

    A lane maps the file into memory, and on some CPUs a matrix product has other bits if its factor starts elsewhere,
    such as in a copy on the pretend device.
    """
    tensors = load_file(file)
    for length in range(64):
        save_file(tensors, file, {"format": "pt", "padding": " " * length})
        if (8 + int.from_bytes(file.read_bytes()[:8], "little")) % 64 == 0:
            return


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow without runs, one for all processes of pytest: to create it takes five seconds."""
    from mlflow import MlflowClient

    own = tmp_path_factory.getbasetemp()
    (folder := (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "mlflow").mkdir(exist_ok=True)
    path = folder / "mlflow.db"
    with FileLock(folder / "lock"):
        if not path.exists():
            MlflowClient(tracking_uri=f"sqlite:///{path}")
    return path


TINY_TASKS = '''
"""The task of coloured squares, once as a source and once as a target."""
from typing import ClassVar
from bench.checks.tiny import Squares

class Old(Squares):
    """What may be forgotten."""
    name: ClassVar[str] = "old_squares"

class New(Squares):
    """What is learnt."""
    name: ClassVar[str] = "new_squares"
'''


@pytest.fixture
def tiny_tasks(tmp_path: Path) -> Path:
    """A plugin file with the two tasks of the suite tiny."""
    path = tmp_path / "tiny_tasks.py"
    path.write_text(TINY_TASKS, encoding="utf-8")
    return path


@pytest.fixture
def squares(tiny_tasks: Path) -> Tasks:
    """How the two tasks of the suite tiny are read; its registry knows them."""
    return Tasks(Registry([tiny_tasks]))


_DRAWN: dict[tuple[type[Task], str], Task] = {}
_NEW = Tasks.new


@pytest.fixture(autouse=True)
def _drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all tests of a process share the drawn tasks, whose examples are drawn and digested once.

    A task that reads files or has options is made anew, as in every command.
    """

    def shared(tasks: Tasks, plugin: type[Task], variant: str = "") -> Task:
        if plugin.manifest is not Task.manifest or tasks.settings.get(plugin.name) or not is_built_in(plugin):
            return _NEW(tasks, plugin, variant)
        if (plugin, variant) not in _DRAWN:
            _DRAWN[plugin, variant] = _NEW(tasks, plugin, variant)
        return _DRAWN[plugin, variant]

    monkeypatch.setattr(Tasks, "new", shared)


@pytest.fixture
def own_tasks(_drawn_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test have drawn tasks of its own, because it changes one."""
    monkeypatch.setattr(Tasks, "new", _NEW)


@pytest.fixture
def tiny_suite(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite that trains in a second, known by the name tiny while the test runs."""
    from bench.plan import suite

    squares = Suite("tiny", str(tiny_folder), ("old_squares",), ("new_squares",), RECIPE)
    monkeypatch.setitem(suite.SUITES, "tiny", squares)
    return squares


@pytest.fixture
def tiny_installed(tiny_suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Suite]:
    """The suite tiny, with its two tasks in a package that is installed while the test runs."""
    site, name = tmp_path / "site", f"tiny_tasks_{tmp_path.name}"
    (info := site / f"{name}-1.dist-info").mkdir(parents=True)
    (site / f"{name}.py").write_text(TINY_TASKS, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        f"[bench.tasks]\nold_squares = {name}:Old\nnew_squares = {name}:New\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(site)
    installed.cache_clear()
    yield tiny_suite
    installed.cache_clear()


_DRIVER = """
import sys
from pathlib import Path
from bench.cli.main import main
from bench.plan import suite
from bench.plan.suite import Suite
from bench.plugins.registry import Registry, installed
from bench.plugins.tasks import Tasks
from bench.checks.tiny import RECIPE
suite.SUITES["tiny"] = Suite("tiny", sys.argv[1], ("old_squares",), ("new_squares",), RECIPE)
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def tiny_command(tiny_folder: Path) -> list[str]:
    """The words that start the command line in a process of its own, where the suite tiny is known."""
    return [sys.executable, "-c", _DRIVER, str(tiny_folder)]
