import torch

from bench.llava import Shape, Side, fresh, word_tokenizer
from bench.pretrain.prime import prime

WORDS = [f"w{number}" for number in range(40)]


def test_heads_of_the_first_layer_look_back_by_one_two_and_three_tokens() -> None:
    side = Side(width=128, inner=64, layers=1, heads=4)
    shape = Shape(16, 8, side, side, feature_layer=-1, max_length=64, attention_bias=True, tied=True)
    torch.manual_seed(0)
    decoder = fresh(word_tokenizer(WORDS), shape).eval().model.language_model
    decoder.set_attn_implementation("eager")

    prime(decoder)

    ids = torch.randperm(40)[None, :30] + 4
    (attention,) = decoder(input_ids=ids, output_attentions=True).attentions
    looked_at = attention[0, :3, 10:].argmax(-1)  # [head, position]
    positions = torch.arange(10, 30)
    assert torch.equal(looked_at, torch.stack([positions - distance for distance in (1, 2, 3)]))
