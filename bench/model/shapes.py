"""The shapes of the layers that can carry an adapter, and how many parameters a recipe trains on them.

Nothing here loads torch, so that a plan can count what a trial will train.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from bench.model.family import ROLES, adapted_roles
from bench.values.recipe import Recipe

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of a decoder's linear layers [out, in] by role, and of all parameters of the connector."""

    decoder: Mapping[str, tuple[Shape, ...]]
    connector: tuple[Shape, ...]

    def missing(self, adapt: str) -> tuple[str, ...]:
        """Return the roles that ``recipe.adapt`` names and the decoder lacks; ``all`` names those that it has."""
        return () if adapt == "all" else tuple(role for role in adapted_roles(adapt) if role not in self.decoder)

    def smallest_side(self, adapt: str = "all") -> int:
        """Return the smallest dimension of the decoder's layers that ``recipe.adapt`` names."""
        return min(side for role in adapted_roles(adapt) for shape in self.decoder.get(role, ()) for side in shape)

    def largest_rank(self, recipe: Recipe) -> int:
        """Return the largest rank that a request may ask for: the smallest dimension of an adapted layer.

        On a part of the layers it is at least the rank that trains as much as LoRA does on all layers at their largest
        rank, because --baselines trains that, too, and every trial can be asked for again.
        """
        side, whole = self.smallest_side(recipe.adapt), replace(recipe, adapt="all")
        return side if recipe == whole else max(side, self.matched_rank(whole, self.smallest_side(), recipe))

    def refusal(self, recipe: Recipe, rank: int) -> str:
        """Return why a request may not ask for a rank, and what to give instead; nothing if it may."""
        side, largest = self.smallest_side(recipe.adapt), self.largest_rank(recipe)
        if rank <= largest:
            return ""
        equal = ", at which these layers train as much as all layers can" if largest > side else ""
        return f"the smallest adapted layer has {side} rows or columns. Give a rank of at most {largest}{equal}."

    def rank_cost(self, recipe: Recipe) -> int:
        """Return the parameters of one rank of LoRA: the sum of in + out over the layers that carry an adapter.

        LoRA's factors A [rank, in] and B [out, rank] have rank * (in + out) entries (Hu et al., 2022, section 4.1).
        """
        return sum(sum(shape) for shape in self._adapted(recipe))

    def trained(self, recipe: Recipe, rank: int) -> int:
        """Return how many parameters plain LoRA trains: its factors, and the connector if that is tuned in full."""
        tuned = sum(map(math.prod, self.connector)) if recipe.connector == "full" else 0
        return rank * self.rank_cost(recipe) + tuned

    def matched_rank(self, recipe: Recipe, rank: int, part: Recipe) -> int:
        """Return the rank at which LoRA under ``part`` has about as many parameters as under ``recipe`` at ``rank``."""
        return max(1, round(rank * self.rank_cost(recipe) / self.rank_cost(part)))

    def _adapted(self, recipe: Recipe) -> Iterator[Shape]:
        for role in adapted_roles(recipe.adapt):
            yield from self.decoder.get(role, ())
        if recipe.connector == "lora":
            yield from (shape for shape in self.connector if len(shape) == 2)


def llama_shapes(sizes: Mapping[str, int]) -> dict[str, tuple[Shape, ...]]:
    """Return the shapes of a decoder with Llama's layers by role, from its sizes as config.json names them."""
    hidden, inner, heads = sizes["hidden_size"], sizes["intermediate_size"], sizes["num_attention_heads"]
    head = sizes.get("head_dim") or hidden // heads
    queries, keys = heads * head, (sizes.get("num_key_value_heads") or heads) * head
    shapes = (
        (queries, hidden),
        (keys, hidden),
        (keys, hidden),
        (hidden, queries),
        (inner, hidden),
        (inner, hidden),
        (hidden, inner),
    )
    return {role: (shape,) * sizes["num_hidden_layers"] for role, shape in zip(ROLES, shapes, strict=True)}
