"""What a number was measured with: versions, hardware, commit; and how much memory a trial took."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PACKAGES = ("retain-bench", "torch", "transformers", "peft", "ray", "numpy", "pillow")


def environment(device: torch.device) -> dict[str, str]:
    """Return package versions, machine, threads and the commit of the code that runs."""
    import torch

    facts = {name: version(name) for name in _PACKAGES}
    facts["python"] = platform.python_version()
    facts["machine"] = platform.machine()
    facts["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    facts["threads"] = str(torch.get_num_threads())
    facts["commit"] = commit()
    return facts


@cache
def commit() -> str:
    """Return the commit of the source tree, "+" added where files differ from it, or "unknown"."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return "unknown"
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def reset_peak_memory(device: torch.device) -> None:
    """Start a new count of the peak memory, where the system can."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is then the process's own
        return


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak since the last reset: of the device, or of this process's resident memory."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
