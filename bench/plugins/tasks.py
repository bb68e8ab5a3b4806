"""Load the tasks of a command: from one folder, with their options, and each of them once."""

from __future__ import annotations

from collections.abc import Mapping

from bench.plugins.registry import Registry
from bench.plugins.task import Reading, Task
from bench.values.trial import Scalar

TaskSettings = Mapping[str, Mapping[str, Scalar]]  # the options of tasks, by task name


class Tasks:
    """The tasks of a registry, with the folder of their files and the values of their options.

    Creating a Tasks object reads nothing. By default it has the installed tasks, reads from ``data`` and sets no
    option.
    """

    def __init__(
        self, registry: Registry | None = None, reading: Reading | None = None, settings: TaskSettings | None = None
    ) -> None:
        self.registry = Registry() if registry is None else registry
        self.reading = Reading() if reading is None else reading
        self.settings: TaskSettings = {} if settings is None else settings
        self._loaded: dict[str, Task] = {}

    def load(self, name: str) -> Task:
        """Return the task ``name`` or ``name@variant``; every call with one name returns the same instance.

        Raises:
            UsageError: the task or its variant does not exist.
            PluginError: the task cannot be imported or breaks the contract.
        """
        if name not in self._loaded:
            self._loaded[name] = self.new(self.registry.task_class(name), name.partition("@")[2])
        return self._loaded[name]

    def new(self, plugin: type[Task], variant: str = "") -> Task:
        """Return an instance of a task that has read nothing yet."""
        task = plugin(**self.settings.get(plugin.name, {}))
        task.reading, task.variant = self.reading, variant or next(iter(plugin.variants), "")
        return task
