"""The published tables of the LoRASculpt paper, for ``bench compare --paper lorasculpt``."""

from __future__ import annotations

from pathlib import Path

from bench import Paper

PAPER = Paper(
    name="lorasculpt",
    citation="Liang et al., LoRASculpt, CVPR 2025, arXiv:2503.16843",
    suite="lorasculpt",
    sources=("okvqa", "ocrvqa", "gqa", "textvqa"),
    targets=("iconqa", "coco_caption"),
    # "lorasculpt" is LoRA on the connector with LoRASculpt's own penalty (Eq. 10). Our method adds this
    # penalty whenever the connector has LoRA.
    connectors={"full": "full", "lora": "lora", "frozen": "frozen", "lorasculpt": "lora"},
    tables=("1", "2"),
    # An independent rerun of the authors' code on IconQA differed from the paper by Source -2.25, Target +1.00 and
    # Avg -0.63. The rerun does not state its rank; we assume 32.
    tolerance=2.0,
    file=Path(__file__).parent / "published" / "lorasculpt.csv",
)
