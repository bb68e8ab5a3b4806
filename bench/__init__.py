"""retain-bench: how much does a multimodal LLM forget when it learns a new task?

These names are the whole interface for plugin authors. The names in ``_LAZY`` are imported when they are first used,
because most of them load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bench.errors import BenchError, DataError, PluginError, StoreError, TrialError, UsageError
from bench.plugins.hyperparameters import hyper, option
from bench.plugins.method import Dimensions, EditContext, EditMethod, LayerShape, Method, Step, TrainMethod
from bench.plugins.paper import Paper, PublishedRow, published_rows
from bench.plugins.task import Card, Download, Example, Fault, Reading, Split, Task
from bench.spec import Recipe

if TYPE_CHECKING:
    from bench.leaderboard.stats import Estimate
    from bench.leaderboard.tables import Leaderboard, Row, Table
    from bench.model.adapters import Adapter, Layer, insert_lora, lora_adapters, lora_change
    from bench.model.change import Change, Decomposed, Delta, Dense, LowRank, Replaced, Sparse

__version__ = "0.1.0"

_LAZY = {
    "Adapter": "bench.model.adapters",
    "Layer": "bench.model.adapters",
    "insert_lora": "bench.model.adapters",
    "lora_adapters": "bench.model.adapters",
    "lora_change": "bench.model.adapters",
    "Change": "bench.model.change",
    "Decomposed": "bench.model.change",
    "Delta": "bench.model.change",
    "Dense": "bench.model.change",
    "LowRank": "bench.model.change",
    "Replaced": "bench.model.change",
    "Sparse": "bench.model.change",
    "Leaderboard": "bench.leaderboard.tables",
    "Row": "bench.leaderboard.tables",
    "Table": "bench.leaderboard.tables",
    "Estimate": "bench.leaderboard.stats",
}

__all__ = [
    "Adapter",
    "BenchError",
    "Card",
    "Change",
    "DataError",
    "Decomposed",
    "Delta",
    "Dense",
    "Dimensions",
    "Download",
    "EditContext",
    "EditMethod",
    "Estimate",
    "Example",
    "Fault",
    "Layer",
    "LayerShape",
    "Leaderboard",
    "LowRank",
    "Method",
    "Paper",
    "PluginError",
    "PublishedRow",
    "Reading",
    "Recipe",
    "Replaced",
    "Row",
    "Sparse",
    "Split",
    "Step",
    "StoreError",
    "Table",
    "Task",
    "TrainMethod",
    "TrialError",
    "UsageError",
    "hyper",
    "insert_lora",
    "lora_adapters",
    "lora_change",
    "option",
    "published_rows",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
