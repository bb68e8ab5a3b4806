"""Questions that ``bench doctor`` asks in a separate process; every function prints lines of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.errors import BenchError, DataError
from bench.plugins.registry import Registry
from bench.plugins.task import Reading
from bench.plugins.tasks import Tasks
from bench.store import places, reach

_HUB_SECONDS = 10.0


def say(**facts: Any) -> None:
    """Print one line of the answer."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def accelerator() -> None:
    """Print what torch was built for, and which GPUs it sees, with their memory in bytes."""
    import torch

    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
            gpus.append({"name": name, "total": total, "free": free, "bfloat16": capability >= (8, 0)})
    say(version=torch.__version__, built_for=torch.version.cuda or torch.version.hip or "", gpus=gpus)


def plugins() -> None:
    """Print for every plugin whether it can be imported."""
    registry = Registry()
    loaders = {
        "method": registry.method,
        "task": registry.task_class,
        "report": registry.report,
        "paper": registry.paper,
    }
    for kind, load in loaders.items():
        for name in registry.names(kind):
            say(name=f"{kind} {name}", error=_error_of(load, name))


def tasks(how: str, *names: str) -> None:
    """Print for every task whether its test split can be read and scored.

    ``how`` is JSON: the data folder, how many broken records to skip, and the tasks' options.
    """
    told = json.loads(how)
    read = Tasks(Registry(), Reading(Path(told["root"]), told["skip_bad"]), told["tasks"])
    for name in names:
        say(name=name, error=_error_of(_read, read, name))


def _read(tasks: Tasks, name: str) -> None:
    task = tasks.load(name)
    task.ready()
    if not task.examples("test"):
        raise DataError("its test split has 0 examples")


def model(name: str) -> None:
    """Print a base model's folder and why it cannot be adapted, or whether the hub has it.

    Nothing is downloaded.
    """
    from bench.model import checkpoints
    from bench.model.families import check_checkpoint

    try:
        folder = checkpoints.resolve(name)
    except BenchError as error:
        if Path(name).is_absolute() or name.count("/") != 1:
            say(trouble=str(error))
        else:
            _ask_hub(name)
    else:
        say(folder=str(folder), refused=_error_of(check_checkpoint, folder))


def _ask_hub(model: str) -> None:
    from huggingface_hub import HfApi, constants

    from bench.errors import first_line

    if constants.HF_HUB_OFFLINE:
        say(trouble="it is not downloaded yet, and HF_HUB_OFFLINE is set")
        return
    name, _, revision = model.partition("@")
    try:
        HfApi().model_info(name, revision=revision or None, timeout=_HUB_SECONDS)
    except Exception as error:  # noqa: BLE001  the hub's client raises a dozen kinds of error
        say(trouble=f"it is not downloaded yet, and the hub does not offer it: {first_line(error)}")
    else:
        say(folder="")


def place(url: str) -> None:
    """Print whether a run folder at a URL can be written."""
    say(error=_error_of(_probe, url))


def _probe(url: str) -> None:
    folder = places.place(url)
    reach.check(folder, "--output")
    reach.probe(folder, "--output")


def _error_of(act: Callable[..., object], *words: object) -> str:
    """Return the reason why an act fails, or ""."""
    try:
        act(*words)
    except (BenchError, OSError, ImportError) as error:
        return str(error) or type(error).__name__
    return ""


def ray(scratch: str, address: str = "") -> None:
    """Print after how many seconds a private Ray, or the one at ``address``, has run a function."""
    import ray

    began = time.monotonic()
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if address:
        ray.init(address=address, **quiet)
    else:
        token = Path(scratch) / "token"
        token.touch(mode=0o600)
        token.write_text(os.urandom(32).hex(), encoding="utf-8")
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        ray.init(address="local", num_cpus=1, include_dashboard=False, _temp_dir=f"{scratch}/ray", **quiet)
    ray.get(ray.remote(lambda: os.uname().nodename).remote())
    nodes = sum(node["Alive"] for node in ray.nodes())
    say(seconds=round(time.monotonic() - began, 1), nodes=nodes)
    ray.shutdown()


QUESTIONS = {each.__name__: each for each in (accelerator, plugins, tasks, model, place, ray)}

if __name__ == "__main__":
    QUESTIONS[sys.argv[1]](*sys.argv[2:])
