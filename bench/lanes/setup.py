"""What lanes need to start, and what is noted in the run folder before they start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.console import say
from bench.lanes import nodes
from bench.model.checkpoints import pinned
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.plugins.task import Reading
from bench.plugins.tasks import Tasks, TaskSettings
from bench.spec import Execution
from bench.store import manifests, models
from bench.store.places import is_remote
from bench.store.run_folder import Store


@dataclass(frozen=True, slots=True)
class Launch:
    """How many lanes a command starts, on which cluster, and how they run trials.

    ``lanes`` has the meaning that it has in ``lanes.run``.
    """

    lanes: int | None = None
    address: str | None = None
    execution: Execution = field(default_factory=Execution)


@dataclass(frozen=True, slots=True)
class LaneSetup:
    """What a command's lanes work with: where to store, which base model, which plugins and data, and how to run.

    ``address`` is that of a running cluster. ``scored`` names the tasks, which a node may lack something for.
    """

    output: Path
    model: Path
    tasks: Tasks
    execution: Execution = field(default_factory=Execution)
    address: str | None = None
    scored: tuple[str, ...] = ()

    def shipped(self) -> Shipment:
        """Return what is sent to a lane; to a cluster, whose nodes may lack the plugin files, with their contents."""
        files = self.tasks.registry.files
        sources = () if self.address is None else tuple(path.read_bytes() for path in files)
        return Shipment(
            self.output, self.model, self.execution, files, sources, self.tasks.reading, self.tasks.settings
        )

    def folders(self, scratch: Path) -> dict[str, Path]:
        """Return the folders that every node of a cluster must see, by their description."""
        own = {"base model": self.model, "data folder": self.tasks.reading.root}
        shared = {"run folder": self.output if is_remote(self.output) else scratch}
        return shared | {what: path for what, path in own.items() if path.exists()}


@dataclass(frozen=True, slots=True)
class Shipment:
    """What a lane in another process is sent, from which it makes its own registry and tasks.

    ``sources`` are the contents of the plugin ``files``; none if driver and lanes share a disk.
    """

    output: Path
    model: Path
    execution: Execution
    files: tuple[Path, ...]
    sources: tuple[bytes, ...]
    reading: Reading
    settings: TaskSettings

    def setup(self) -> LaneSetup:
        """Return the setup of the lane's own process.

        Raises:
            UsageError: a plugin file is missing.
            PluginError: a plugin file cannot be imported.
        """
        registry = Registry(nodes.unpacked(self.files, self.sources))
        return LaneSetup(self.output, self.model, Tasks(registry, self.reading, self.settings), self.execution)


def lane_setup(request: Request, store: Store, launch: Launch) -> LaneSetup:
    """Return the setup of a command's lanes.

    Raises:
        DataError: software that scores a task is missing.
    """
    scored = tuple(dict.fromkeys((*request.targets, *request.sources)))
    for name in scored:
        request.tasks.load(name).ready()
    return LaneSetup(
        store.root,
        request.suite.folder,
        request.tasks,
        launch.execution,
        launch.address,
        scored=scored,
    )


def note_model(suite: Suite, store: Store) -> None:
    """Write into the run folder which model the revision in its trials means."""
    models.note_model(store.root, suite.revision(), suite.name, pinned(suite.model))


def note_data(request: Request, store: Store) -> None:
    """Write into the run folder the tasks' files and drawn examples, and print what was left out."""
    for left_out in manifests.write(store, request.tasks, request.targets, request.sources, request.split):
        say(left_out)
