"""``bench report`` of a search: its page has the result of every quest, or says which is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.cli.request import read_request
from bench.cli.search import SearchOptions, noted
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.store.runs import Run, save_run
from bench.store.search_results import FOLDER, RESULT, SearchResult
from tests.making.commands import typed
from tests.making.searches import result

ORDERS = (("new_squares", "old_squares"), ("old_squares", "new_squares"))
COMMAND = "bench search …"
AGAIN = f"Run its command again; it tries nothing again: {COMMAND}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (made := Store(tmp_path / "runs")).prepare()
    return made


@pytest.fixture
def words(tiny_suite: Suite, tiny_tasks: Path) -> tuple[str, ...]:
    return ("--suite", "tiny", "--plugin", str(tiny_tasks), "--ranks", "2,4", "--methods")


def searched(store: Store, *words: str) -> Run:
    """Keep the note of a finished search that was typed with these words, and return it."""
    options = typed(SearchOptions, *words, "--output", str(store.root))
    registry = Registry(options.plugin)
    cells = options.chain_cells(registry) if options.is_sequence else options
    asked = read_request(cells, options.output, registry)
    wanted = options.chain_request(registry, asked) if options.is_sequence else asked
    run = replace(noted(options, cells, wanted, options.setting()), finished=True, command=COMMAND)
    save_run(store, run)
    return run


def put(store: Store, *results: SearchResult, command: str = COMMAND) -> None:
    for each in results:
        folder = store.root / FOLDER / each.label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).write_text(replace(each, command=command).text(), encoding="utf-8")


def test_a_search_of_which_a_later_one_replaced_results_is_refused_with_their_names(
    words: tuple[str, ...], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(store, *words, "lora,dare")
    put(store, *(result(method, rank, "new_squares") for method in ("lora", "dare") for rank in (2, 4)))
    put(store, result("dare", 2, "new_squares"), result("dare", 4, "new_squares"), command="bench search --trials 30")

    assert main(["report", "--output", str(store.root)]) == 2

    told = " ".join(capsys.readouterr().err.split())
    assert f"The results of dare-r2-new_squares, dare-r4-new_squares were replaced by a later search. {AGAIN}" in told


def test_the_page_of_a_search_has_every_quest_in_the_order_of_the_search(
    words: tuple[str, ...], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run = searched(store, *words, "lora,dare")
    put(store, *(result(method, rank, "new_squares") for method in ("lora", "dare") for rank in (4, 2)))

    assert main(["report", "--output", str(store.root)]) == 0

    html = (store.root / "reports" / run.name / "index.html").read_text(encoding="utf-8")
    titles = [f"{method}, rank {rank}, new_squares" for rank in (2, 4) for method in ("lora", "dare")]
    places = [html.index(f">{title}</h3>") for title in titles]
    assert places == sorted(places)


@pytest.mark.slow
def test_the_note_of_a_search_of_sequences_names_its_chains_and_orders(
    words: tuple[str, ...], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--tasks", ",".join(ORDERS[0]), "--order", ",".join(ORDERS[1]))
    run = searched(store, *words, "lora,lora+dare", *more)
    quests = [
        result(method, rank, order=order) for method in ("lora", "lora+dare") for rank in (2, 4) for order in ORDERS
    ]
    put(store, *quests[:-1])

    assert main(["report", "--output", str(store.root)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    put(store, quests[-1])
    assert main(["report", "--output", str(store.root)]) == 0

    assert f"The results of lora+dare-r4-old_squares.new_squares were replaced by a later search. {AGAIN}" in told
    html = (store.root / "reports" / run.name / "index.html").read_text(encoding="utf-8")
    assert ">lora+dare, rank 4, the sequence old_squares, new_squares</h3>" in html


def test_a_search_of_sequences_by_an_earlier_version_is_refused(
    words: tuple[str, ...], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    run = searched(store, *words, "lora", "--tasks", ",".join(ORDERS[0]))
    save_run(store, replace(run, chained={}))
    for rank in (2, 4):
        whole = result(rank=rank, order=ORDERS[0])
        put(store, replace(whole, facts={name: fact for name, fact in whole.facts.items() if name != "order"}))

    assert main(["report", "--output", str(store.root)]) == 2

    told = " ".join(capsys.readouterr().err.split())
    assert f"The note of the search {run.name} does not say which chains it searched. {AGAIN}" in told
