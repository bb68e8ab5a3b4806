from bench.model.llava.tiny import word_tokenizer
from bench.prepare.pretrain.decoder import encode
from bench.prepare.pretrain.lessons import Lesson, Turn, words
from bench.prepare.pretrain.stage import SHAPE


def test_only_answers_and_their_end_tokens_are_learnt() -> None:
    tokenizer = word_tokenizer([*words("USER: ASSISTANT: what is red blue ?"), "B"])
    lesson = Lesson(("red", "blue"), (Turn("what is red?", "B"), Turn("blue", "red blue")))

    ids, labels = encode(tokenizer, lesson)

    text = tokenizer.convert_ids_to_tokens(ids)
    learnt = [token for token, label in zip(text, labels, strict=True) if label != -100]
    assert learnt == ["B", "</s>", "red", "blue", "</s>"]
    assert text[:4] == ["USER", ":", "red", "blue"]
    assert "<unk>" not in text


def test_a_picture_takes_its_tokens() -> None:
    tokenizer = word_tokenizer(words("USER: ASSISTANT: what ?"))

    ids, _ = encode(tokenizer, Lesson(3, (Turn("what?", "what"),)))

    assert tokenizer.convert_ids_to_tokens(ids).count("<image>") == SHAPE.image_tokens
