"""Facts about pictured things: the icon shows the thing, and the answer is general knowledge about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench import Example, Split

from .drawing import generator
from .drawn_task import DrawnTask
from .icons import picture
from .vqa_accuracy import score_vqa

QUESTIONS = {
    "eats": ("what does it eat?", "what does this animal eat?"),
    "found": ("where is it found?", "where would you find this?"),
    "used": ("what is it used for?", "what do people use this for?"),
    "made": ("what is it made of?", "what is this thing made from?"),
}
# For each thing and question: first the answer of most of the ten annotators, then the answers of the others.
FACTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "airplane": {"found": ("airport", "sky"), "used": ("flying", "travel"), "made": ("metal",)},
    "bed": {"found": ("bedroom", "home"), "used": ("sleeping", "rest")},
    "bell": {"used": ("ringing",), "made": ("metal", "brass")},
    "bicycle": {"found": ("street", "road"), "used": ("riding", "sport")},
    "bird": {"eats": ("seeds", "insects"), "found": ("sky", "tree")},
    "bone": {"found": ("body", "ground")},
    "book": {"found": ("library", "home"), "used": ("reading",), "made": ("paper",)},
    "bus": {"found": ("street", "road"), "used": ("travel", "driving")},
    "cactus": {"found": ("desert",)},
    "cake": {"found": ("bakery", "kitchen"), "made": ("flour", "sugar")},
    "camera": {"used": ("photos", "pictures"), "found": ("pocket", "home")},
    "car": {"found": ("road", "street"), "used": ("driving", "travel"), "made": ("metal",)},
    "carrot": {"found": ("garden", "kitchen"), "used": ("cooking", "eating")},
    "cat": {"eats": ("mice", "fish"), "found": ("home",)},
    "cheese": {"found": ("kitchen", "farm"), "made": ("milk",)},
    "cookie": {"found": ("bakery", "kitchen"), "made": ("flour", "sugar")},
    "couch": {"found": ("home",), "used": ("sitting", "rest")},
    "cow": {"eats": ("grass", "hay"), "found": ("farm", "field")},
    "dog": {"eats": ("meat", "bones"), "found": ("home", "garden")},
    "egg": {"found": ("farm", "kitchen"), "used": ("cooking", "eating")},
    "fish": {"eats": ("plants", "insects"), "found": ("water", "sea")},
    "flower": {"found": ("garden", "field")},
    "guitar": {"used": ("music",), "made": ("wood",)},
    "hammer": {"found": ("toolbox", "garage"), "used": ("building", "nails"), "made": ("metal",)},
    "helicopter": {"found": ("airport", "sky"), "used": ("flying", "travel"), "made": ("metal",)},
    "horse": {"eats": ("hay", "grass"), "found": ("farm", "field"), "used": ("riding", "sport")},
    "key": {"found": ("pocket", "home"), "used": ("opening",), "made": ("metal", "brass")},
    "lamp": {"found": ("home", "bedroom"), "used": ("light", "reading")},
    "leaf": {"found": ("tree", "forest")},
    "pencil": {"found": ("school",), "used": ("writing", "drawing"), "made": ("wood",)},
    "phone": {"found": ("pocket", "home"), "used": ("calling", "photos")},
    "pizza": {"found": ("restaurant", "kitchen"), "made": ("flour", "cheese")},
    "scissors": {"found": ("school", "home"), "used": ("cutting",), "made": ("metal",)},
    "snowflake": {"found": ("sky", "ground"), "made": ("ice", "water")},
    "spider": {"eats": ("insects",), "found": ("web", "garden")},
    "tractor": {"found": ("farm", "field"), "used": ("farming", "driving"), "made": ("metal",)},
    "train": {"found": ("station", "rails"), "used": ("travel",), "made": ("metal",)},
    "tree": {"found": ("forest", "park"), "made": ("wood",)},
    "truck": {"found": ("road", "street"), "used": ("driving", "travel")},
    "umbrella": {"used": ("rain",), "found": ("home",)},
    "wrench": {"found": ("toolbox", "garage"), "used": ("repair", "building"), "made": ("metal",)},
}
THINGS = tuple(FACTS)
_ANNOTATORS = 10


class ThingFacts(DrawnTask):
    """Represents OK-VQA: no picture shows its answer. VQA accuracy over ten answers (LAVIS form)."""

    name: ClassVar[str] = "thing_facts"
    paper: ClassVar[str] = "drawn here from qtawesome's icon fonts; stands for OK-VQA"
    primary: ClassVar[str] = "vqa_accuracy"
    training_pictures: ClassVar[int] = 12300

    @override
    def _drawn(self, split: Split) -> Iterator[Example]:
        for number in self._numbers(split):
            thing = THINGS[number % len(THINGS)]
            rng = generator("thing_facts", split, number)
            image = picture(thing, rng)
            kinds = list(FACTS[thing]) if split == "train" else [rng.choice(list(FACTS[thing]))]
            for kind in kinds:
                answers = ten_annotators(FACTS[thing][kind])
                question = rng.choice(QUESTIONS[kind])
                yield Example(f"{split}-{number}-{kind}", question, answers, image)

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return score_vqa(examples, predictions, "lavis")

    @override
    def labels(self, example: Example) -> Mapping[str, str]:
        _, number, _ = example.id.split("-")
        return {"thing": THINGS[int(number) % len(THINGS)]}


def ten_annotators(said: tuple[str, ...]) -> tuple[str, ...]:
    """Return ten annotators' answers: three of each answer after the first; the first fills the rest."""
    others = tuple(answer for answer in said[1:] for _ in range(3))
    return (said[0],) * (_ANNOTATORS - len(others)) + others
