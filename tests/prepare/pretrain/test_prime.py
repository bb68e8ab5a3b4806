import pytest
import torch
from torch import Tensor

from bench.model.llava.tiny import fresh, word_tokenizer
from bench.prepare.pretrain.prime import prime
from bench.prepare.pretrain.stage import SHAPE

WORDS = [f"w{number}" for number in range(60)]
DRAWS, LENGTH, HEAD = 60, 30, 32


@pytest.fixture(scope="module")
def decoder() -> torch.nn.Module:
    torch.manual_seed(0)
    model = fresh(word_tokenizer(WORDS), SHAPE).eval().model.language_model
    model.set_attn_implementation("eager")
    prime(model)
    return model  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def ids() -> Tensor:
    """Words of which the third last is an earlier one; all others differ."""
    rows = torch.stack([torch.randperm(len(WORDS))[:LENGTH] + 4 for _ in range(DRAWS)])
    rows[:, -3] = rows[:, 7]
    return rows


def test_heads_of_the_first_layer_look_back_by_one_two_and_three_tokens(decoder: torch.nn.Module, ids: Tensor) -> None:
    attention = decoder(input_ids=ids, output_attentions=True).attentions[0]

    looked_at = attention[0, :3, 10:].argmax(-1)  # [head, position]

    positions = torch.arange(10, LENGTH)
    assert torch.equal(looked_at, torch.stack([positions - distance for distance in (1, 2, 3)]))


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_after_the_first_layer_a_token_holds_the_word_before_it(
    decoder: torch.nn.Module, ids: Tensor, distance: int
) -> None:
    hidden = decoder(input_ids=ids, output_hidden_states=True).hidden_states[1][:, -1]
    words = decoder.embed_tokens.weight[:, :HEAD]  # type: ignore[union-attr,index]

    held = (hidden[:, distance * HEAD : (distance + 1) * HEAD] @ words.T).argmax(-1)  # type: ignore[operator]

    assert (held == ids[:, -1 - distance]).float().mean() > 0.9


@pytest.mark.parametrize("layer", [1, 2])
def test_the_next_layers_find_the_earlier_place_of_the_word_two_back(
    decoder: torch.nn.Module, ids: Tensor, layer: int
) -> None:
    attention = decoder(input_ids=ids, output_attentions=True).attentions[layer][:, 0, -1].clone()
    attention[:, -3] = 0.0  # the word that is asked about equals itself

    found = attention.argmax(-1)

    assert (found == 7).float().mean() > 0.6  # by chance 1 in 29
