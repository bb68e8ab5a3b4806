"""A digest of everything that decides the bits of vision features, except the images."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch
from torch import nn

from bench.environment import tower_environment
from bench.model.family import Config, Family, Processor

_NOT_READ = ("_name_or_path", "quantization_config")  # a folder of the user; the decoder's weights


def tower_key(family: Family, tower: nn.Module, config: Config, processor: Processor) -> str:
    """Return the SHA-256 of tower, configuration, processor, code, versions and hardware, as hex.

    The code is the whole file of the family, so that features of an older version are never read.
    """
    facts = {
        "weights": _weights(tower),
        "config": {name: value for name, value in config.to_dict().items() if name not in _NOT_READ},
        "processor": processor.to_dict(),
        "code": code_digest(type(family).__module__),
        "environment": tower_environment(tower, next(tower.parameters()).device),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def code_digest(module: str) -> str:
    """Return the SHA-256 of the file of an imported module, as hex."""
    file = sys.modules[module].__file__
    assert file is not None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _weights(tower: nn.Module) -> str:
    """Return the SHA-256 of a tower's tensors with their names, dtypes and shapes; 0.6 GB take half a second."""
    total = hashlib.sha256()
    for name, value in sorted(tower.state_dict().items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
