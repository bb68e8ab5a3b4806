import gc
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.main import main

pytestmark = pytest.mark.usefixtures("one_mlflow")

LIGHT = """
import sys
from bench.cli.main import main
from bench.errors import TrialError
try:
    code = main({words})
except SystemExit as end:  # --help
    code = end.code
heavy = {{"torch", "ray", "mlflow", "transformers", "peft", "pandas", "matplotlib"}} & set(sys.modules)
sys.exit(f"loaded {{heavy}}" if heavy else code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["leaderboard", "--help"],
        ["compare", "--help"],
        ["study", "--help"],
        ["ls", "tasks"],
        ["ls", "suites"],
        ["study", "ls"],
        ["data", "--help"],
        ["data", "get", "--help"],
    ],
)
def test_help_and_listings_load_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(words=words)], capture_output=True, encoding="utf-8", check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--methods lorra", "No method named 'lorra'. Did you mean 'lora'?"),
        ("--targets icon_chioce", "No task named 'icon_chioce'. Did you mean 'icon_choice'?"),
        ("--sources gqaa", "No task named 'gqaa'."),
        ("--suite mikro", "No suite named 'mikro'. Did you mean 'micro'?"),
        ("--ranks 0", "--ranks has 0; the smallest allowed value is 1."),
        ("--ranks -4", "--ranks has -4; the smallest allowed value is 1."),
        ("--ranks 100000", "Rank 100000 is too large for the model of suite micro: the smallest adapted layer has 128"),
        ("--ranks many", "--ranks has 'many'; give whole numbers"),
        ("--ranks ,", "--ranks is empty"),
        ("--seeds x", "--seeds has 'x'"),
        ("--limit 0", "--limit has 0"),
        ("--lanes -1", "--lanes is -1"),
        (
            "--lanes 0 --gpus-per-trial 2",
            "--lanes 0 runs in this process and cannot start workers. Drop it or --gpus-per-trial.",
        ),
        ("--micro-batch 0", "--micro-batch is 0; give at least 1."),
        ("--eval-batch 0", "--eval-batch is 0; give at least 1."),
        ("--feature-cache -1", "--feature-cache is -1; give 0 or more GiB."),
        ("--lanes 0 --address auto", "nothing would run on the cluster"),
        ("--set lora.lorra=1", "lora.lorra is not a hyperparameter. Known: lr."),
        ("--set lora.lr=2", "lora.lr is 2.0; give at most 1"),
        ("--set lora.lr=fast", "lora.lr is 'fast'; give a number."),
        ("--set lora.lr=nan", "lora.lr is 'nan'; give a finite number."),
        ("--set lora", "--set 'lora' is wrong; write METHOD.FIELD=VALUE."),
        ("--set recipe.lrr=1", "The recipe has no field 'lrr'."),
        ("--set recipe.updates=0", "recipe.updates is 0; give a number from 1"),
        ("--set recipe.lr=nan", "recipe.lr is nan"),
        ("--set recipe.clip=-1", "recipe.clip is -1.0"),
        ("--set recipe.warmup=5", "recipe.warmup is 5.0"),
        ("--set recipe.train_dtype=foo", "recipe.train_dtype is 'foo'; choose one of"),
        ("--set recipe.template=x", "recipe.template must contain <image> exactly once; it has 0."),
        ("--limit 1,2", "--limit is 1,2; give one number."),
        ("--targets easy_vqa --sources easy_vqa", "easy_vqa is both a target and a source"),
        ("--targets iconqa --sources iconqa@lmms", "iconqa@lmms is both a target and a source"),
        ("--set iconqa@lmms.source=hub", "names a variant, but all variants share their options. Write --set iconqa.…"),
        (
            "--methods lora --set dare.drop_rate=0.5",
            "has no effect because dare is not among --methods lora. Drop it, or add dare to --methods.",
        ),
        ("--plugin none.py", "--plugin none.py does not exist."),
        ("--rewind much", "--rewind has 'much'; give numbers from 0 to 1"),
        ("--rewind 0.5,2", "--rewind is '0.5,2'; give numbers from 0 to 1"),
        ("--rewind 0.5 --sources none", "--rewind draws Source against Target, and there is no source (--sources none"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do_and_starts_nothing(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "runs"

    code = main(["run", "--output", str(output), *words.split()])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not list(output.glob("*"))


def test_a_model_from_the_hub_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["pretrain", "lorasculpt"]) == 2

    assert "is llava-hf/llava-1.5-7b-hf, which bench pretrain cannot build." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--methods dare --trials 0", "--trials is 0; give at least 1."),
        ("--methods dare --lanes 0", "a search runs on Ray Tune and needs at least one lane"),
        ("--methods dare --set dare.drop_rate=0.5", "dare has nothing to search: drop_rate set by --set."),
        ("--methods dare --tuned", "--tuned is an option of bench run"),
        ("--methods dare --baselines", "--baselines and --rewind are options of bench run"),
        ("--methods dare --search-seed -1", "--search-seed is -1; give 0 or more."),
        ("--methods dare --margin 500", "--margin is 500; give 0 to 100 points, or none."),
        ("--methods dare --fields rescale", "--fields: dare.rescale has no search range. Set it with --set."),
        ("--methods dare --fields s", "--fields: 's' is not a hyperparameter of dare."),
        ("--methods dare,lorasculpt --fields s", "dare has nothing to search: drop_rate not among --fields."),
        ("--methods lorasculpt --fields beta", "beta acts only with --connector lora"),
        ("--methods dare --storage nonsense://me:pw@host/db", "storage nonsense://host/db cannot be opened"),
        ("--methods zero_shot", "zero_shot has nothing to tune"),
        ("--methods dare --sources none", "A search is judged by Target and Source, and there is no source."),
        (
            "--tasks okvqa,gqa --suite lorasculpt --sources never",
            "A search is judged by AP and Source, and there is no",
        ),
    ],
)
def test_a_search_that_cannot_be_is_one_line_and_starts_nothing(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "runs"

    code = main(["search", "--output", str(output), *words.split()])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert len(error.splitlines()) == 1
    assert not output.exists()


@pytest.mark.slow
def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    assert main(["run", "--output", str(tmp_path / "file" / "runs")]) == 2
    assert "Cannot write to --output" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["plan", "leaderboard", "ls trials", "show x", "clean", "sync"])
def test_an_output_that_is_a_file_is_refused_by_every_verb(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert main([*verb.split(), "--output", str(tmp_path / "file")]) == 2
    assert "is a file. Choose a folder." in capsys.readouterr().err


def test_a_damaged_command_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "command.json").write_text("{", encoding="utf-8")

    assert main(["leaderboard", "--output", str(tmp_path)]) == 1
    assert "command.json is damaged" in capsys.readouterr().err


def test_a_leaderboard_of_nothing_says_how_to_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--output", str(tmp_path)]) == 2
    assert "has no run yet" in capsys.readouterr().err


def test_a_process_that_ends_looks_for_no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cli.main._read_and_write_utf8", lambda: None)
    monkeypatch.setattr(sys, "argv", ["bench"])
    before = gc.get_freeze_count()

    assert main([]) == 0
    within = gc.get_freeze_count()
    assert main() == 0
    after = gc.get_freeze_count()
    gc.unfreeze()

    assert before == within < after


def test_a_word_that_is_not_utf8_is_refused_by_its_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "trials", "--output", "l\udce4ufe"]) == 2
    assert capsys.readouterr().err.startswith(r"bench: 'l\udce4ufe' is not UTF-8. Write it in UTF-8;")


@pytest.mark.slow
def test_a_character_that_stdout_cannot_write_is_written_as_its_number(tiny_tasks: Path) -> None:
    tiny_tasks.write_text(tiny_tasks.read_text(encoding="utf-8").replace("What is learnt", "Größe"), encoding="utf-8")
    words = [str(Path(sys.executable).with_name("bench")), "data", "info", "new_squares", "--plugin", str(tiny_tasks)]

    done = subprocess.run(words, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert rb"Gr\xf6\xdfe" in done.stdout


def test_the_hubs_client_writes_its_warnings_once(capsys: pytest.CaptureFixture[str]) -> None:
    main(["ls", "suites"])
    capsys.readouterr()
    written: list[str] = []
    (root := logging.Handler()).emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(root)

    logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s")

    logging.getLogger().removeHandler(root)
    assert written == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('("zero",)', "digits: 1 of 1 answers and 1 of 3 words of the prompts are unknown to the base model of micro"),
        ('"zero"', "The task digits: answers must be a tuple of str; example 'train' of train has 'zero'."),
    ],
)
def test_a_task_that_cannot_work_is_refused_before_anything_starts(
    answer: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path := tmp_path / "digits.py").write_text(
        "from pathlib import Path\n"
        "from bench import Example, Task\n"
        "class Digits(Task):\n"
        "    name, paper, primary = 'digits', 'none', 'exact'\n"
        "    def examples(self, split):\n"
        f"        return [Example(split, 'which numeral ?', {answer}, Path('x.png'))]\n"
        "    def score(self, examples, predictions):\n"
        "        return {'exact': [0.0 for _ in examples]}\n",
        encoding="utf-8",
    )

    code = main(
        ["run", "--plugin", str(path), "--targets", "digits", "--lanes", "0", "--output", str(tmp_path / "runs")]
    )

    assert code == 2
    assert capsys.readouterr().err.removeprefix("bench: ").startswith(told)
    assert not (tmp_path / "runs").exists()
