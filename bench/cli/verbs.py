"""The verbs of bench, in groups by what a user wants to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import get_type_hints

from bench.cli.arguments import Command


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of bench. Its function NAME is in the module ``bench.cli.<file>``.

    ``examples`` are whole commands. ``verbs`` are the words that may follow a verb which has no function itself.
    """

    name: str
    text: str
    examples: tuple[str, ...] = ()
    file: str = ""
    about: str | None = ""
    verbs: tuple[Verb, ...] = ()

    @property
    def description(self) -> str | None:
        """The first paragraph of the verb's help: ``about``, or ``text`` as a sentence if ``about`` is empty."""
        return f"{self.text[0].upper()}{self.text[1:]}." if self.about == "" else self.about

    @property
    def options(self) -> type[Command]:
        """The type of the argument of the verb's function, whose module is imported only if the verb is used."""
        found: type[Command] = get_type_hints(self.function)["options"]
        return found

    @property
    def function(self) -> Callable[[Command], int]:
        """The verb's function, which returns the exit code."""
        function: Callable[[Command], int] = getattr(import_module(f"bench.cli.{self.file or self.name}"), self.name)
        return function


_DATA = (
    Verb(
        "get",
        "download the files that are missing; resumes where it stopped",
        ("bench data get all --data /data/bench",),
        "data",
        None,
    ),
    Verb(
        "check",
        "check all records and images; exit with code 1 if something is wrong",
        ("bench data check gqa,textvqa",),
        "data",
        None,
    ),
    Verb(
        "info", "print a task's card: content, source, size, metric and prompts", ("bench data info gqa",), "data", None
    ),
)

GROUPS: dict[str, tuple[Verb, ...]] = {
    "Train and rank": (
        Verb(
            "run",
            "train, evaluate and rank methods; resumes where it stopped",
            (
                "bench run --methods lora,dare,lorasculpt --ranks 32 --seeds 0-2 --baselines",
                "bench run --plugin mine.py --methods paper,mine --ranks 16,32",
                "bench run --config run.yaml",
            ),
        ),
        Verb(
            "search",
            "tune every method with the same budget on validation; resumes where it stopped",
            ("bench search --methods lora,dare --ranks 32 --trials 20", "bench run --methods lora,dare --tuned"),
        ),
        Verb(
            "sequence",
            "learn several tasks one after another, and show what each costs the earlier ones; resumes",
            ("bench sequence --tasks icon_choice,scene_caption --methods slao,lora+lines --baselines",),
        ),
        Verb(
            "study",
            "run an experiment of a paper on any suite; `study ls` lists them",
            ("bench study ls", "bench study effective_rank --ranks 32"),
        ),
        Verb(
            "plan",
            "print what a run would do, what is cached, and what the run costs",
            (
                "bench plan --methods paper --ranks 16,32,64",
                "bench plan --suite lorasculpt --methods paper --gpu A100:4",
                "bench plan --config run.yaml --budget 40h",
            ),
        ),
    ),
    "Read the results": (
        Verb(
            "leaderboard",
            "print the leaderboard of the run folder",
            ("bench leaderboard --sort lost", "bench leaderboard --run latest --format markdown"),
            about="Print the leaderboard of the run with the most finished cells, or of the cells that the options "
            "name; with --run also the tables of a sequence.",
        ),
        Verb(
            "report",
            "write the report page of a run, sequence, search or study again, and print its path",
            ("bench report", "bench report --run latest --sort target"),
            about="Write the report page of a finished run, sequence, search or study again, and print its path. Open "
            "it in a browser.",
        ),
        Verb(
            "show",
            "print one trial: its scores, cost, command, and what it forgot",
            ("bench show lora-r32-icon_choice-s0 --examples",),
        ),
        Verb(
            "ls",
            "list methods, tasks, suites, or the trials or runs of a run folder",
            ("bench ls methods", "bench ls methods lorasculpt", "bench ls runs"),
        ),
        Verb("ui", "open MLflow on this machine to compare runs", ("bench ui --port 5001",), "mlflow"),
        Verb("sync", "update MLflow from the run folder", ("bench sync --output runs",), "mlflow"),
        Verb(
            "compare",
            "compare a run or a sequence with a paper's published table or another run, and give verdicts",
            ("bench compare --paper lorasculpt", "bench compare --with their_pack"),
            about="Compare a run or a sequence with a paper's table, or a run with another one; refuse what is not "
            "comparable.",
        ),
    ),
    "Share": (
        Verb(
            "export",
            "write a trial as a peft adapter or a merged model",
            ("bench export lora-r32-icon_choice-s0 --adapter my_adapter",),
        ),
        Verb(
            "publish",
            "gather a run as a folder to publish, or upload it to a hub",
            ("bench publish --to pack", "bench publish --to hub:OWNER/NAME"),
        ),
    ),
    "Prepare and check": (
        Verb(
            "doctor",
            "check versions, GPUs, disks, data, model and services; say what to fix",
            ("bench doctor", "bench doctor --suite lorasculpt"),
        ),
        Verb(
            "check",
            "check methods, tasks and reports against their contracts",
            ("bench check mine.py", "bench check eval --suite micro"),
        ),
        Verb(
            "data",
            "download, check and describe the data of tasks",
            about="Download, check and describe the data of tasks. `all` means the tasks of the suite lorasculpt.",
            verbs=_DATA,
        ),
        Verb(
            "clean",
            "delete leftovers, and with --trials finished trials that nothing needs, after asking",
            ("bench clean", "bench clean --trials"),
        ),
        Verb(
            "completion",
            "print a script with which a shell completes the words of bench",
            ('eval "$(bench completion bash)"', "bench completion zsh > ~/.zfunc/_bench"),
        ),
    ),
    "Rarely needed": (
        Verb(
            "theory",
            "test LoRASculpt's theorems on the density of BA with random masks",
            ("bench theory",),
        ),
        Verb(
            "pretrain",
            "build a base model that comes with the package, such as micro's, from scratch",
            ("bench pretrain micro",),
        ),
    ),
}
VERBS: tuple[Verb, ...] = tuple(verb for group in GROUPS.values() for verb in group)


def leaves() -> Iterator[tuple[str, Verb]]:
    """Yield every verb that has a function, with its words, such as ``data get``."""
    for verb in VERBS:
        if not verb.verbs:
            yield verb.name, verb
        for part in verb.verbs:
            yield f"{verb.name} {part.name}", part
