from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.layouts.checkpoint import IMAGE, PAD, SYSTEM, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hub"))


def test_transformers_loads_every_weight_of_it_by_its_old_name(folder: Path) -> None:
    from transformers import LlavaForConditionalGeneration

    model, report = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)

    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.float16
    assert len(list(folder.glob("*.safetensors"))) == 2


def test_its_tokenizer_splits_as_llamas(folder: Path) -> None:
    from transformers import AutoProcessor

    tokenizer: Any = AutoProcessor.from_pretrained(folder).tokenizer
    last = len(tokenizer) - 1

    assert tokenizer.convert_ids_to_tokens(tokenizer("a square\n🙂").input_ids) == [
        "<s>", "▁a", "▁square", "<0x0A>", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>",
    ]  # fmt: skip
    assert tokenizer.convert_tokens_to_ids(["<unk>", "<s>", "</s>", IMAGE, PAD]) == [0, 1, 2, last - 1, last]
    assert tokenizer.decode(tokenizer("a t-shirt, café").input_ids, skip_special_tokens=True) == "a t-shirt, café"


def test_its_chat_template_has_the_hubs_traps(folder: Path) -> None:
    from transformers import AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}
    said = {"role": "assistant", "content": [{"type": "text", "text": "dog"}]}
    system = {"role": "system", "content": [{"type": "text", "text": SYSTEM}]}

    assert processor.apply_chat_template([user], add_generation_prompt=True) == "USER: <image>\nWhat? ASSISTANT:"
    assert processor.apply_chat_template([user, said]) == "USER: <image>\nWhat? ASSISTANT: dog "  # no </s>
    assert processor.apply_chat_template([system, user], add_generation_prompt=True).startswith(f"{SYSTEM} USER: ")
