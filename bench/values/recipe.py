"""The recipe of a training: what every method of a suite has in common."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Connector = Literal["full", "frozen", "lora"]
Dtype = Literal["float32", "bfloat16", "float16"]
ImageMode = Literal["processor", "pad"]
Quantization = Literal["none", "4bit"]
CONNECTORS: tuple[Connector, ...] = ("full", "frozen", "lora")
TEMPLATE = "USER: <image>\n{prompt} ASSISTANT:"  # the prompt of LLaVA-1.5; the embedded base model learnt it too
EVALUATED = ("eval_dtype", "template", "image")  # the fields of a recipe that evaluation reads


@dataclass(frozen=True, slots=True)
class Recipe:
    """How every method of a suite is trained, and in which precision it is evaluated.

    ``lr`` is the adapters' learning rate unless a method sets its own; ``connector_lr`` is the learning rate of a fully
    tuned connector. ``scale`` is lora_alpha / rank. ``warmup`` is a share of the updates; the schedule is a cosine to
    zero. ``clip`` bounds the gradient norm; None, as in the paper, does not clip. ``image`` says what makes an image
    square: the checkpoint's own processor, or padding as in the original LLaVA. ``quantization`` is how the frozen base
    is stored during training (QLoRA); evaluation uses the full weights. ``adapt`` says which linear layers of the
    decoder carry an adapter: a group such as ``attention``, or roles joined by +.
    """

    updates: int
    batch_size: int
    lr: float
    connector_lr: float
    micro_batch_size: int | None = None
    connector: Connector = "full"
    scale: float = 2.0
    dropout: float = 0.05
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip: float | None = None
    train_dtype: Dtype = "float32"
    eval_dtype: Dtype = "float32"
    max_length: int = 2048
    template: str = TEMPLATE
    image: ImageMode = "processor"
    quantization: Quantization = "none"
    adapt: str = "all"

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON; fields added later are left out at their defaults, to keep old ids."""
        data = asdict(self)
        for name, before in OMITTED.items():
            if data[name] == before:
                del data[name]
        return data


OMITTED = {"image": "processor", "quantization": "none", "adapt": "all"}  # fields added later, and their defaults


def reference_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of the untouched base model: only the fields that evaluation reads are set."""
    read: dict[str, Any] = {name: getattr(recipe, name) for name in EVALUATED}
    return Recipe(updates=0, batch_size=0, lr=0.0, connector_lr=0.0, **read)
