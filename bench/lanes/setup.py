"""What lanes are started with, and what a run folder notes before they are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.console import say
from bench.model.checkpoints import pinned
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.registry import TaskSettings, load_task
from bench.plugins.task import Reading
from bench.spec import Execution
from bench.store import manifests, models
from bench.store.places import is_remote
from bench.store.run_folder import Store


@dataclass(frozen=True, slots=True)
class Launch:
    """How many lanes a command starts, on which cluster, and how they run trials. ``lanes`` as in ``lanes.run``."""

    lanes: int | None = None
    address: str | None = None
    execution: Execution = field(default_factory=Execution)


@dataclass(frozen=True, slots=True)
class Setup:
    """What every lane needs to know: where to store, which base model, which plugins and data, and how to run.

    ``address`` is that of a running cluster, whose nodes take the plugins from their ``sources``.
    ``scored`` names the tasks, which a node may lack something for.
    """

    output: Path
    model: Path
    plugins: tuple[Path, ...] = ()
    reading: Reading = field(default_factory=Reading)
    tasks: TaskSettings = field(default_factory=dict)
    execution: Execution = field(default_factory=Execution)
    address: str | None = None
    sources: tuple[bytes, ...] = ()
    scored: tuple[str, ...] = ()

    def shipped(self) -> Setup:
        """Return the setup with its plugins' contents, for nodes that do not have the files."""
        return (
            self if self.address is None else replace(self, sources=tuple(path.read_bytes() for path in self.plugins))
        )

    def folders(self, scratch: Path) -> dict[str, Path]:
        """Return what every node of a cluster has to see, by what it is."""
        own = {"base model": self.model, "data folder": self.reading.root}
        shared = {"run folder": self.output if is_remote(self.output) else scratch}
        return shared | {what: path for what, path in own.items() if path.exists()}


def lane_setup(request: Request, store: Store, launch: Launch) -> Setup:
    """Return what the lanes of a command need to know.

    Raises:
        DataError: a task lacks what it scores with.
    """
    scored = tuple(dict.fromkeys((*request.targets, *request.sources)))
    for name in scored:
        load_task(name).ready()
    return Setup(
        store.root,
        request.suite.folder,
        request.plugins,
        request.reading,
        request.tasks,
        launch.execution,
        launch.address,
        scored=scored,
    )


def note_model(suite: Suite, store: Store) -> None:
    """Note in the run folder which model its trials' revision means."""
    models.note_model(store.root, suite.revision(), suite.name, pinned(suite.model))


def note_data(request: Request, store: Store) -> None:
    """Note in the run folder what its tasks are read from and which examples are drawn; say what was left out."""
    for left_out in manifests.write(store, request.targets, request.sources, request.split):
        say(left_out)
