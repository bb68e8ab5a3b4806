"""Write a small LLaVA as ``llava-hf/llava-1.5-7b-hf`` is on the hub: its files, its weights' names, its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

IMAGE, PAD = "<image>", "<pad>"
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
WORDS = (
    SYSTEM,
    " USER: ASSISTANT:",
    "What color is the square? Answer the question using a single word or phrase.",
    "Reference OCR token: A. red B. green C. blue D. white",
    "Provide a short description of the image. A picture of a yellow square in the middle of black.",
    "0 1 2 3 4 5 6 7 8 9 yes no it's a t-shirt, café",
)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
_PATCH = 14
_ROWS = 64  # the embedding has more rows than the tokenizer tokens, as the hub's 32,064 for 32,002

# The hub's template, in the words of its behaviour: no system turn unless one is given, no end token, a space last.
_CHAT = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def write(  # noqa: PLR0913  what a test may want otherwise
    folder: Path,
    *,
    texts: Iterable[str] = (),
    image_size: int = 56,
    width: int = 32,
    layers: int = 2,
    shards: int = 2,
    dtype: str = "float16",
    seed: int = 0,
) -> Path:
    """Write the checkpoint and return its folder; words of ``texts`` become tokens of their own.

    ``image_size`` is a multiple of 14; ``width`` one of 8. The weights are drawn from ``seed``, large enough that a
    change of one shows in the outputs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens = _write_tokenizer(folder, [*WORDS, *texts])
    config = _config(tokens, image_size, width, layers, dtype)
    _dump(folder / "config.json", config)
    _dump(
        folder / "generation_config.json",
        {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": tokens + 1},
    )
    _write_processor(folder, image_size)
    _write_weights(folder, old_names(_model(folder, seed).state_dict()), shards, getattr(torch, dtype))
    return folder


def old_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's tensors under the names of before transformers 4.52, which the hub's files have."""
    moves = {
        "model.language_model.": "language_model.model.",
        "model.vision_tower.": "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "lm_head.": "language_model.lm_head.",
    }
    return {
        next(old + name.removeprefix(new) for new, old in moves.items() if name.startswith(new)): value
        for name, value in state.items()
    }


def _config(tokens: int, image_size: int, width: int, layers: int, dtype: str) -> dict[str, Any]:
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": tokens,
        "model_type": "llava",
        "pad_token_id": tokens + 1,
        "projector_hidden_act": "gelu",
        "text_config": {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": width,
            "intermediate_size": width * 3 // 2,
            "max_position_embeddings": 4096,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": layers,
            "num_key_value_heads": 4,
            "rms_norm_eps": 1e-05,
            "torch_dtype": dtype,
            "vocab_size": -(-(tokens + 2) // _ROWS) * _ROWS,
        },
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "vision_config": {
            "hidden_size": width // 2,
            "image_size": image_size,
            "intermediate_size": width,
            "model_type": "clip_vision_model",
            "num_attention_heads": 2,
            "num_hidden_layers": 3,
            "patch_size": _PATCH,
            "projection_dim": width,
            "vocab_size": 32000,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "vocab_size": -(-(tokens + 2) // _ROWS) * _ROWS,
    }


def _write_processor(folder: Path, image_size: int) -> None:
    _dump(
        folder / "preprocessor_config.json",
        {
            "crop_size": {"height": image_size, "width": image_size},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": MEAN,
            "image_processor_type": "CLIPImageProcessor",
            "image_std": STD,
            "processor_class": "LlavaProcessor",
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": {"shortest_edge": image_size},
        },
    )
    _dump(
        folder / "processor_config.json",
        {
            "image_token": IMAGE,
            "num_additional_image_tokens": 1,
            "patch_size": _PATCH,
            "processor_class": "LlavaProcessor",
            "vision_feature_select_strategy": "default",
        },
    )
    _dump(folder / "chat_template.json", {"chat_template": _CHAT})


def _write_tokenizer(folder: Path, texts: list[str]) -> int:
    """Write a byte pair encoding as Llama's: a space is ``▁``, unknown characters are bytes. Return its tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    drafted = Tokenizer(models.BPE())
    drafted.pre_tokenizer = pre_tokenizers.Metaspace()
    drafted.train_from_iterator(texts * 2, trainers.BpeTrainer(special_tokens=first, show_progress=False))
    learnt = json.loads(drafted.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    core = Tokenizer(models.BPE(learnt["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", special_tokens=[("<s>", 1)])
    tokens = core.get_vocab_size()
    added = ["<unk>", "<s>", "</s>", IMAGE, PAD]
    core.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in added])
    core.save(str(folder / "tokenizer.json"))
    ids = {0: "<unk>", 1: "<s>", 2: "</s>", tokens: IMAGE, tokens + 1: PAD}
    _write_tokenizer_config(folder, ids)
    return tokens


def _write_tokenizer_config(folder: Path, ids: Mapping[int, str]) -> None:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": PAD, "unk_token": "<unk>"}
    _dump(folder / "special_tokens_map.json", {**special, "image_token": IMAGE})
    _dump(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "add_prefix_space": None,
            "added_tokens_decoder": {str(place): {"content": text, **flags} for place, text in ids.items()},
            "clean_up_tokenization_spaces": False,
            "extra_special_tokens": {"image_token": IMAGE},
            "image_token": IMAGE,
            "legacy": False,
            "model_max_length": 10**30,
            "padding_side": "left",
            "processor_class": "LlavaProcessor",
            "tokenizer_class": "LlamaTokenizer",
            "trust_remote_code": False,
            "use_default_system_prompt": False,
            **special,
        },
    )


def _model(folder: Path, seed: int) -> nn.Module:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig.from_pretrained(folder)
    config.initializer_range = config.text_config.initializer_range = 0.15
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = LlavaForConditionalGeneration(config)
    return model.float()


def _write_weights(folder: Path, state: Mapping[str, Tensor], shards: int, dtype: torch.dtype) -> None:
    from safetensors.torch import save_file

    size = -(-len(state) // shards)
    names = list(state)
    places: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
        part = {name: state[name].to(dtype).contiguous() for name in names[shard * size : (shard + 1) * size]}
        save_file(part, folder / file, {"format": "pt"})
        places |= dict.fromkeys(part, file)
    if shards > 1:
        total = sum(value.numel() * dtype.itemsize for value in state.values())
        _dump(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
