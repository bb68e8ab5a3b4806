"""retain-bench: how much does a multimodal LLM forget when it learns a new task?

These names are the whole interface for plugin authors and for readers of a run folder (``read``). The names in
``_LAZY`` are imported when they are first used, because most of them load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bench.errors import BenchError, DataError, PluginError, StoreError, TrialError, UsageError
from bench.plugins.hyperparameters import hyper, option
from bench.plugins.images import image_fault, rgb_image
from bench.plugins.method import Dimensions, EditContext, EditMethod, LayerShape, Method, Start, Step, TrainMethod
from bench.plugins.paper import Paper, PublishedRow, SequencePaper, published_rows
from bench.plugins.task import Card, Download, Example, Fault, Reading, Split, Task
from bench.text import csv_text
from bench.values.recipe import Recipe

if TYPE_CHECKING:
    from bench.leaderboard.stats import Estimate
    from bench.leaderboard.tables import Leaderboard, Row, Table
    from bench.model.adapters import Adapter, Layer, compute_factors, insert_lora, lora_adapters, lora_change
    from bench.model.answer_loss import answer_loss
    from bench.model.change import Change, Decomposed, Delta, Dense, LowRank, Replaced, Routed, Sparse
    from bench.model.routed import insert_routed, routed_change
    from bench.model.states import BlockStates, decoder_blocks, image_positions
    from bench.sequences.board import OrderSummary, SequenceBlock, SequenceBoard, SequenceRow, StageScores
    from bench.store.frames import RunFolder, read

__version__ = "0.2.0"

_LAZY = {
    "bench.leaderboard.stats": ("Estimate",),
    "bench.leaderboard.tables": ("Leaderboard", "Row", "Table"),
    "bench.model.adapters": ("Adapter", "Layer", "compute_factors", "insert_lora", "lora_adapters", "lora_change"),
    "bench.model.answer_loss": ("answer_loss",),
    "bench.model.change": ("Change", "Decomposed", "Delta", "Dense", "LowRank", "Replaced", "Routed", "Sparse"),
    "bench.model.routed": ("insert_routed", "routed_change"),
    "bench.model.states": ("BlockStates", "decoder_blocks", "image_positions"),
    "bench.store.frames": ("RunFolder", "read"),
    "bench.sequences.board": ("OrderSummary", "SequenceBlock", "SequenceBoard", "SequenceRow", "StageScores"),
}

__all__ = ["Dimensions", "EditContext", "EditMethod", "LayerShape", "Method", "Start", "Step", "TrainMethod"]
__all__ += ["Card", "Download", "Example", "Fault", "Reading", "Recipe", "Split", "Task", "image_fault", "rgb_image"]
__all__ += ["Paper", "PublishedRow", "SequencePaper", "hyper", "option", "published_rows"]
__all__ += ["BenchError", "DataError", "PluginError", "StoreError", "TrialError", "UsageError"]
__all__ += ["Adapter", "Layer", "compute_factors", "insert_lora", "lora_adapters", "lora_change"]
__all__ += ["BlockStates", "answer_loss", "decoder_blocks", "image_positions"]
__all__ += ["Change", "Decomposed", "Delta", "Dense", "LowRank", "Replaced", "Routed", "Sparse"]
__all__ += ["insert_routed", "routed_change"]
__all__ += ["Estimate", "Leaderboard", "Row", "Table"]
__all__ += ["OrderSummary", "SequenceBlock", "SequenceBoard", "SequenceRow", "StageScores"]
__all__ += ["RunFolder", "csv_text", "read"]


def __getattr__(name: str) -> object:
    for module, names in _LAZY.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
