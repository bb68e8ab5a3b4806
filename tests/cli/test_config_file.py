import shlex
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.cli.parser import parse
from bench.cli.plan import PlanOptions
from bench.cli.run import RunOptions
from bench.cli.search import SearchOptions
from bench.errors import UsageError


def read(path: Path, *words: str) -> RunOptions:
    """Return the options of ``bench run`` with a file."""
    found = parse(["run", "--config", str(path), *words])
    assert found is not None
    options = found[1]
    assert isinstance(options, RunOptions)
    return options


def file(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--methods lora,dare --ranks 16-18 --seeds 0-2 --limit 20 --baselines --rewind 0.5",
        "--tuned --base 4bit --lanes 0 --feature-cache 0.5 --feature-files 0 --mix --sort lost",
        "--tuned some/folder --set dare.drop_rate=0.5 --set recipe.lr=1e-3 --plugin a.py --plugin b.py",
        "--output s_1/läufe --data d --model some/model --address auto --skip-bad 2 --quiet",
        "--sources none --every-source --connector frozen --micro-batch 4 --gradient-checkpointing",
        "--gradient-checkpointing 8 --lanes 0",
        "--gradient-checkpointing auto",
    ],
)
def test_a_saved_command_is_read_as_the_same_command(words: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    typed = parse(["run", *words.split()])
    assert typed is not None

    assert main(["run", *words.split(), "--save-config", str(path)]) == 0

    found = read(path)
    assert isinstance(typed[1], RunOptions)
    told = {name: getattr(found, name) for name in vars(RunOptions()) if name not in {"words", "typed"}}
    assert told == {name: getattr(typed[1], name) for name in told}
    assert set(found.typed) == set(typed[1].typed)


def test_every_option_of_run_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"

    assert main(["run", "--save-config", str(path)]) == 0

    text = path.read_text(encoding="utf-8")
    options = set(vars(RunOptions())) - {"words", "typed", "config", "save_config"}
    assert len(options) > 25
    assert [name for name in sorted(options) if f"\n#{name}:" not in text] == []


def test_saving_starts_nothing_and_replaces_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file(tmp_path, "mine")
    output = tmp_path / "runs"

    assert main(["run", "--output", str(output), "--save-config", str(path)]) == 2

    assert capsys.readouterr().err == f"bench: --save-config {path} exists. Delete it, or name another file.\n"
    assert path.read_text(encoding="utf-8") == "mine"
    assert not output.exists()


def test_the_command_line_comes_after_the_file(tmp_path: Path) -> None:
    path = file(tmp_path, "ranks: [16, 32]\nlanes: 2\nset: {dare: {drop_rate: 0.5}, recipe.updates: 10}\n")

    found = read(path, "--ranks", "64", "--set", "dare.drop_rate=0.7")

    assert (found.ranks, found.lanes) == ("64", 2)
    assert found.set == ("dare.drop_rate=0.5", "recipe.updates=10", "dare.drop_rate=0.7")
    assert found.line == (
        "bench run --ranks=16,32 --lanes=2 --set=dare.drop_rate=0.5 --set=recipe.updates=10 "
        "--ranks 64 --set dare.drop_rate=0.7"
    )


def test_names_may_have_dashes_and_null_is_the_default(tmp_path: Path) -> None:
    found = read(file(tmp_path, "every-source: true\nmicro_batch: 4\nlimit:\nbaselines: false\n"))

    assert (found.every_source, found.micro_batch, found.limit, found.baselines) == (True, 4, None, False)
    assert set(found.typed) == {"every_source", "micro_batch"}


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert read(file(tmp_path, "# nothing\n")).typed == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rank: 16", "bench run has no option 'rank'. Did you mean 'ranks'? bench run --help lists all."),
        ("config: b.yaml", "bench run has no option 'config'."),
        ("lanes: many", "--lanes is 'many'; give a whole number."),
        ("sort: bets", "--sort is 'bets'. Choose one of"),
        ("baselines: 3", "baselines is 3; give true or false."),
        ("methods: on", "methods is True; give text or a number, in quotes if YAML misreads it."),
        ("ranks: 16\nranks: 32", "cannot be read as YAML: ranks stands twice in line 2."),
        ("ranks: 16\n\nlanes: 1\nranks: 32", "cannot be read as YAML: ranks stands twice in line 4."),
        ("gpus-per-trial: 1\ngpus_per_trial: 2", "gpus_per_trial stands twice, once with - and once with _."),
        ("lanes: -1", "--lanes is -1; give 0 or more."),
        ("[", "cannot be read as YAML: "),
        ("lora", "holds no options. Write one a line, such as methods: lora,dare."),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path, text)

    assert main(["run", "--config", str(path)]) == 2

    error = capsys.readouterr().err
    assert str(path) in error
    assert told in error
    assert error.count("\n") == 1


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"--config none\.yaml does not exist\."):
        parse(["run", "--config", "none.yaml"])


def test_one_file_serves_a_search_a_plan_and_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file(tmp_path, "methods: lora\ntrials: 3\nsort: lost\n")

    kinds = {}
    for verb in ("run", "plan", "search"):
        found = parse([verb, f"--config={path}"])
        assert found is not None
        kinds[verb] = found[1]

    assert capsys.readouterr().err == (
        f"{path}: bench run does not use trials: it has no such option.\n"
        f"{path}: bench plan does not use trials, sort: it has no such option.\n"
        f"{path}: bench search does not use sort: it has no such option.\n"
    )
    assert isinstance(kinds["search"], SearchOptions)
    assert kinds["search"].trials == 3
    assert isinstance(kinds["plan"], PlanOptions)
    assert kinds["plan"].methods == "lora"


@pytest.mark.parametrize("value", ["020", "1e-3", "1:30", "1.50", "0x3", "2026-11-30"])
def test_a_number_is_read_as_it_is_written(value: str, tmp_path: Path) -> None:
    found = read(file(tmp_path, f"model: {value}\nset: {{recipe: {{lr: {value}}}}}\n"))

    assert found.model == value
    assert found.set == (f"recipe.lr={value}",)


def test_a_key_that_a_merge_brings_may_be_replaced(tmp_path: Path) -> None:
    found = read(file(tmp_path, "set:\n  <<: {recipe.lr: 0.1, recipe.updates: 5}\n  recipe.lr: 0.2\n"))

    assert sorted(found.set) == ["recipe.lr=0.2", "recipe.updates=5"]


def test_two_files_are_refused(tmp_path: Path) -> None:
    path = file(tmp_path, "ranks: 16\n")

    with pytest.raises(UsageError, match=r"--config is given twice\. Give one file\."):
        read(path, f"--config={path}")


def test_what_starts_a_saved_command_is_told_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my study.yaml"

    assert main(["study", "effective_rank", "--ranks", "8", "--dry-run", "--save-config", str(path)]) == 0

    told = capsys.readouterr().err
    command = f"bench study effective_rank --config '{path}'"
    assert told == f"wrote {path}. Start with: {command}\n"
    assert path.read_text(encoding="utf-8").startswith(f"# Start with: {command}\n")
    found = parse(shlex.split(command)[1:])
    assert found is not None
    assert (vars(found[1])["name"], vars(found[1])["ranks"], vars(found[1])["dry_run"]) == (
        "effective_rank",
        "8",
        False,
    )


def test_only_its_owner_can_read_a_saved_password(tmp_path: Path) -> None:
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path, storage in zip(paths, ["postgresql://host/x", "postgresql://ann:secret@host/x"], strict=True):
        assert main(["search", "--storage", storage, "--save-config", str(path)]) == 0

    assert [path.stat().st_mode & 0o077 != 0 for path in paths] == [True, False]
