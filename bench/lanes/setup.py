"""What lanes need to start, and what is noted in the run folder before they start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.console import warn
from bench.errors import DataError, first_line
from bench.lanes import nodes
from bench.model.checkpoints import pinned
from bench.plan.fingerprint import once_a_task
from bench.plan.plan import Plan
from bench.plan.request import Request
from bench.plugins.registry import REPLAY, Registry
from bench.plugins.task import Fault, Reading, Split, Task
from bench.plugins.tasks import Tasks, TaskSettings
from bench.store.json_note import write_note
from bench.store.places import is_remote
from bench.store.run_folder import Store
from bench.trial.tokens import Tokens, taught
from bench.values.recipe import Recipe
from bench.values.resources import Resources


@dataclass(frozen=True, slots=True)
class Launch:
    """How many lanes a command starts, on which cluster, and how they run trials.

    ``lanes`` 0 means in this process, None means all free devices. ``address`` is that of a running cluster.
    """

    lanes: int | None = None
    address: str | None = None
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True, slots=True)
class LaneSetup:
    """What a command's lanes work with: where to store, which base model, which plugins and data, and how to run.

    ``scored`` names the tasks, which a node may lack something for.
    """

    output: Path
    model: Path
    tasks: Tasks
    launch: Launch = field(default_factory=Launch)
    scored: tuple[str, ...] = ()

    def shipped(self) -> Shipment:
        """Return what is sent to a lane; to a cluster, whose nodes may lack the plugin files, with their contents."""
        files = self.tasks.registry.files
        sources = () if self.launch.address is None else tuple(path.read_bytes() for path in files)
        return Shipment(self.output, self.model, self.launch, files, sources, self.tasks.reading, self.tasks.settings)

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
    launch: Launch
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
        return LaneSetup(self.output, self.model, Tasks(registry, self.reading, self.settings), self.launch)


def lane_setup(request: Request, store: Store, launch: Launch) -> LaneSetup:
    """Return the setup of a command's lanes, and note which model the revision in its trials means.

    Raises:
        DataError: software that scores a task is missing.
    """
    scored = tuple(dict.fromkeys((*request.targets, *request.sources)))
    for name in scored:
        request.tasks.load(name).ready()
    suite = request.suite
    store.note_model(suite.revision(), suite.name, pinned(suite.model))
    return LaneSetup(store.root, suite.folder, request.tasks, launch, scored)


def unteachable(plan: Plan) -> str:
    """Return why the control that trains on examples of the sources cannot be taught some, or nothing.

    A method that the user asked for is not examined here: ``note_data`` refuses it.
    """
    request = plan.request
    replays = request.controls and not request.mixing and any(job.trial.sources for job in plan.pending)
    for name in request.sources if replays else ():
        try:
            _untaught(request.tasks.load(name), request.suite.folder, request.recipe)
        except DataError as error:
            return f"{REPLAY} trains on examples of every source. {first_line(error)}"
    return ""


def note_data(request: Request, store: Store) -> None:
    """Write ``data/TASK-SPLIT.json`` into the run folder for every split that a run trains on or scores.

    The file lists the task's files, drawn examples and skipped records. A task that draws its examples from a seed has
    such a file only if an example was skipped. A line is printed for each split with skipped records.

    Raises:
        DataError: more examples of a split cannot be taught than may be skipped.
    """
    for name in request.taught:
        untaught = _untaught(request.tasks.load(name), request.suite.folder, request.recipe)
        _note_split(request, store, name, "train", untaught)
    for name in dict.fromkeys((*request.sources, *request.targets)):
        _note_split(request, store, name, request.split, {})


@once_a_task
def _untaught(task: Task, folder: Path, recipe: Recipe) -> Mapping[str, Fault]:
    """Return the faults of the training examples that cannot be taught, by id."""
    return taught(Tokens.of_checkpoint(folder, recipe), task, recipe.max_length, keep=False).faults


def _note_split(request: Request, store: Store, name: str, split: Split, untaught: Mapping[str, Fault]) -> None:
    task = request.tasks.load(name)
    manifest = dict(task.manifest(split))
    if untaught:
        manifest["skipped"] = [*manifest.get("skipped", ()), *map(str, untaught.values())]
        manifest["untaught"] = list(untaught)
    if manifest:
        path = store.root / "data" / f"{name}-{split}.json"
        write_note(path, manifest)
        if count := len(task.faults(split)) + len(untaught):
            warn(f"{name} {split}: {count:,} broken record{'s' * (count != 1)} skipped; {path} lists them.")
