"""Examples from files in LLaVA's format: a JSON of conversations for training, a JSONL of questions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import DataError, Example

from .intake import Intake, Record
from .rows import Row, json_rows, line_rows

_SLOT = "<image>"
_OCR = "Reference OCR token:"
_BETWEEN = re.compile(
    r"^OCR tokens: .*?Question: (.*?) Short answer:", re.DOTALL
)  # InstructBLIP's format, which LLaVA reads


@dataclass(frozen=True, slots=True)
class Verbatim(Example):
    """An example whose question is the whole prompt, word for word as in a LLaVA file."""


@dataclass(frozen=True, slots=True)
class LlavaFiles:
    """A reader of LLaVA's files; ``image`` returns the path of an image that a file names.

    ``answers`` returns the answers of a file in the form that the task scores, or raises DataError.
    """

    intake: Intake
    image: Callable[[str], Path]
    answers: Callable[[tuple[str, ...]], tuple[str, ...]]

    def conversations(self, path: Path) -> list[Record]:
        """Return the records of a training file; each has an image, one question and its answer, and maybe an id.

        The id of an example is made from the number of the record and its id, or the name of the file.

        Raises:
            DataError: the file is missing, is not JSON of this format, or contains too many broken records.
        """
        return self.intake.records(json_rows(self._file(path)), self._conversation)

    def questions(self, path: Path, official: Callable[[], Sequence[Record]], *, by_image: bool) -> list[Record]:
        """Return the records of a question file, with answers from this file or from the official files.

        A record has the fields question_id or id, image and text, and may have answer or answers. Without answers, a
        record takes those of the official question with the same id. With ``by_image``, it takes those of the official
        question with the same image and words, because the question ids of such a file are images, which repeat.

        Raises:
            DataError: the file is missing, or contains too many broken records.
        """
        rows = list(line_rows(self._file(path)))
        gold: dict[str, Example] = {}
        if not all(row.has("answer") or row.has("answers") for row in rows):
            examples = [record.example for record in official()]
            gold = {_image_key(e.image, e.question) if by_image else e.id: e for e in examples}

        def make(row: Row) -> Iterator[Example]:
            text, name = row.text("text"), row.label("question_id" if row.has("question_id") else "id")
            text = _without_slot(text) if _SLOT in text else text  # LLaVA does not strip the text
            image = self.image(row.text("image"))
            key = _image_key(image, asked(text)) if by_image else name
            answers = gold[key].answers if key in gold else ()
            if own := _own_answers(row):
                answers = self.answers(own)
            if not answers:
                raise DataError(f"the official files have no answer to question {key}")
            yield Verbatim(f"{name}-{row.index + 1}" if by_image else name, text, answers, image)

        return self.intake.records(rows, make)

    def _file(self, path: Path) -> Path:
        if not path.is_file():
            raise DataError(f"{self.intake.task}: there is no file {path}, which --set {self.intake.task}.… names.")
        return self.intake.file(path)

    def _conversation(self, row: Row) -> Iterator[Example]:
        turns = row.value["conversations"] if row.has("conversations") else None
        turns = turns if isinstance(turns, list) else []
        speakers = [turn.get("from") if isinstance(turn, dict) else None for turn in turns]
        if speakers != ["human", "gpt"]:
            raise DataError("its conversations are not one human turn and one gpt turn")
        question, answer = (Row(row.file, row.index, turn).text("value") for turn in turns)
        image = self.image(row.text("image"))
        own = row.label("id") if row.has("id") else row.file.stem
        name = f"train-{row.index + 1}-{own}"  # an image's id repeats if it has several captions
        yield Verbatim(name, _without_slot(question), self.answers((answer.strip(),)), image)


def asked(text: str) -> str:
    """Return the question in one of LLaVA's prompts.

    The question is the first line that does not list OCR tokens. In InstructBLIP's format, it is the text between
    "Question:" and "Short answer:".
    """
    if found := _BETWEEN.match(text):
        return found[1].strip()
    lines = [line for line in text.splitlines() if not line.startswith(_OCR)]
    return lines[0].strip() if lines else ""


def _own_answers(row: Row) -> tuple[str, ...]:
    if row.has("answers"):
        return row.texts("answers")
    return (row.text("answer"),) if row.has("answer") else ()


def _image_key(image: object, question: str) -> str:
    return f"{Path(str(image)).stem} {question.strip().lower()}"


def _without_slot(text: str) -> str:
    """Return a prompt without the image slot and its line end; the template puts the image first."""
    return text.replace(_SLOT, "").strip()
