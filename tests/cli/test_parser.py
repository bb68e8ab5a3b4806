import subprocess
from pathlib import Path

import pytest

from bench.cli.arguments import Command
from bench.cli.main import main
from bench.cli.parser import full_parser, parse
from bench.cli.verbs import GROUPS, leaves
from bench.console import say, warn
from bench.errors import UsageError

VERBS = [words for words, _ in leaves()]


def test_help_lists_every_command_under_the_title_of_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0

    text = capsys.readouterr().out
    places = [text.index(f"\n{title}:\n") for title in GROUPS]
    assert places == sorted(places)
    assert [verb.name for verbs in GROUPS.values() for verb in verbs if f"\n  {verb.name} " not in text] == []


@pytest.mark.parametrize("words", VERBS)
def test_every_verb_has_an_example_that_bench_understands(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    verb = next(verb for name, verb in leaves() if name == words)

    with pytest.raises(SystemExit):
        main([*words.split(), "--help"])

    text = capsys.readouterr().out
    assert verb.examples
    assert [line for line in verb.examples if f"\n  {line}" not in text] == []
    assert any(f"bench {words}" in line for line in verb.examples)
    assert f"usage: bench {words} [" in text


def test_the_help_of_run_has_a_section_for_every_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["help", "run"])

    text = capsys.readouterr().out
    titles = [line.removesuffix(":") for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "options",
        "suite and base model",
        "what is compared",
        "data, plugins and run folder",
        "how trials run",
        "what is printed",
        "a run in a file",
        "messages",
        "examples",
    ]
    assert text.startswith("usage: bench run [OPTION ...]\n")


def test_a_quiet_command_prints_results_and_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "suites"]) == 0
    loud = capsys.readouterr()
    assert main(["ls", "suites", "--quiet"]) == 0
    quiet = capsys.readouterr()
    say("a message")
    warn("a warning")
    after = capsys.readouterr().err
    assert main(["ls", "suites"]) == 0

    assert loud.err != ""
    assert (quiet.out, quiet.err) == (loud.out, "")
    assert after == "a warning\n"
    assert capsys.readouterr().err == loud.err


def test_quiet_and_verbose_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "suites", "-q", "-v"]) == 2

    assert capsys.readouterr().err == "bench: --quiet and --verbose exclude each other. Drop one.\n"


def test_a_verbose_command_prints_the_traceback_of_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("def inner():\n    raise ValueError('no')\n\n\ninner()\n", encoding="utf-8")
    words = ["run", "--plugin", str(plugin), "--dry-run", "--output", str(tmp_path / "runs")]

    assert main(words) == 2
    plain = capsys.readouterr().err
    assert main([*words, "--verbose"]) == 2

    assert plain.startswith("bench: ")
    assert plain.count("\n") == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last):\n")
    assert "in inner" in error
    assert error.endswith(plain)


@pytest.mark.parametrize("words", [words for words in VERBS if not words.startswith("data")])
def test_every_command_has_the_options_of_messages(words: str) -> None:
    assert {"quiet", "verbose"} <= {name for name in vars(Command())}
    places = {"show": ["x"], "check": ["x"], "study": ["x"], "export": ["x", "--adapter", "y"], "pretrain": ["x"]}

    found = parse([words, *places.get(words, []), "-q"])

    assert found is not None
    assert found[1].quiet


@pytest.mark.parametrize(("typed", "found"), [((), "by_name"), (("--output", "typed"), "typed")])
def test_the_run_folder_may_be_named_by_a_variable(
    typed: tuple[str, ...], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_OUTPUT", "by_name")

    options = parse(["clean", *typed])

    assert options is not None
    assert vars(options[1])["output"] == Path(found)


def test_the_line_of_a_command_can_be_pasted_into_a_shell() -> None:
    found = parse(["clean", "--output", "my runs"])

    assert found is not None
    assert found[1].line == "bench clean --output 'my runs'"


def test_bash_completes_commands_options_choices_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "bench.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    (tmp_path / "mine.py").touch()

    def completed(*words: str) -> list[str]:
        line = f"COMP_WORDS=({' '.join(word or repr(word) for word in words)}); COMP_CWORD={len(words) - 1}"
        text = f'. {script}; {line}; _shtab_bench bench; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(
            ["bash", "-c", text], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True, timeout=60
        )
        return done.stdout.split()

    assert completed("bench", "lead") == ["leaderboard"]
    assert completed("bench", "run", "--meth") == ["--methods"]
    assert completed("bench", "leaderboard", "--sort", "") == ["avg", "source", "target", "lost", "method"]
    assert "mine.py" in completed("bench", "run", "--plugin", "mi")


def test_the_full_parser_has_the_options_of_every_verb() -> None:
    with pytest.raises(UsageError, match="--rnaks"):
        full_parser().parse_args(["run", "--rnaks", "16"])
    assert full_parser().parse_args(["run", "--ranks", "16"]).ranks == "16"


def test_an_abbreviated_option_is_refused_not_overlooked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--rank", "16"]) == 2

    assert capsys.readouterr().err == (
        "bench: bench leaderboard has no option --rank. Did you mean '--ranks'? "
        "bench leaderboard --help lists all options.\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rnu"], "bench has no command 'rnu'. Did you mean 'run'?"),
        (["RUN"], "bench has no command 'RUN'. Did you mean 'run'?"),
        (["data", "gte"], "bench data has no command 'gte'. Did you mean 'get'?"),
        (["data", "get", "gqa", "--fource"], "bench data get has no option --fource."),
        (["run", "--Method=lora"], "bench run has no option --Method. Did you mean '--methods'?"),
        (["doctor", "micro"], "bench doctor does not take 'micro'."),
        (["--quiet", "ls"], "--quiet comes after the command. Write bench ls --quiet."),
        (["--verison"], "bench has no option --verison."),
    ],
)
def test_a_mistyped_command_or_option_says_what_is_meant(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2

    assert told in capsys.readouterr().err


def test_help_can_be_asked_for_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["help", "leaderboard"])

    assert "usage: bench leaderboard" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("ls method", "bench ls has no 'method'. Did you mean 'methods'? Choose one of methods, tasks, "),
        ("run --sort Avg", "--sort is 'Avg'. Did you mean 'avg'? Choose one of avg, source, "),
        ("leaderboard --format jsn", "--format is 'jsn'. Did you mean 'json'? Choose one of "),
        ("run --connector lroa", "--connector is 'lroa'. Did you mean 'lora'? Choose one of "),
        ("run --lanes many", "--lanes is 'many'; give a whole number."),
        ("run --ranks", "--ranks: expected one argument. bench run --help shows what it takes."),
        ("show", "bench show needs TRIAL. bench show --help shows what it takes."),
        ("export x", "one of the arguments --adapter --merged is required. bench export --help shows "),
    ],
)
def test_a_value_that_is_not_possible_is_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bench: {told}")
