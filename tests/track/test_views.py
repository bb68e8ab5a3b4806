"""The saved views of MLflow's pages."""

from __future__ import annotations

import json
from typing import Any

from bench.track.views import KEY, View, commands_view, names_in, searches_view, target_views

TARGETS, SOURCES = {"new", "gqa@lmms"}, ("old", "older")


def state(view: View) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.loads(view.text)["state"])
    return found


def view_of(target: str) -> View:
    return next(view for view in target_views(dict.fromkeys(TARGETS, "test"), TARGETS, SOURCES) if view.name == target)


def test_each_target_has_a_view_of_its_own_trials_with_the_highest_avg_first() -> None:
    found = state(view_of("new"))

    assert "tags.target = 'new'" in found["searchFilter"]
    assert "tags.split = 'test'" in found["searchFilter"]
    assert (found["orderByKey"], found["orderByAsc"]) == ("metrics.`avg`", False)
    assert found["selectedColumns"][:3] == ["metrics.`avg`", "metrics.`source/avg`", "metrics.`target/avg`"]


def test_charts_begin_with_source_against_target_and_end_with_costs_that_are_folded() -> None:
    found = state(view_of("new"))
    sections = found["compareRunSections"]
    first = found["compareRunCharts"][0]

    assert [section["name"] for section in sections][:3] == ["Source against Target", "Loss", "Scores"]
    assert (sections[-1]["name"], sections[-1]["display"]) == ("cost", False)
    assert (first["type"], first["xaxis"]["key"], first["yaxis"]["key"]) == ("SCATTER", "target/avg", "source/avg")
    assert first["metricSectionId"] == sections[0]["uuid"]
    assert found["compareRunCharts"][1]["metricKey"] == "train/loss"
    assert found["isAccordionReordered"]  # otherwise MLflow sorts the sections by name


def test_each_chart_is_in_a_section_and_nothing_has_the_id_of_another() -> None:
    found = state(view_of("new"))
    charts, sections = found["compareRunCharts"], found["compareRunSections"]

    assert {chart["metricSectionId"] for chart in charts} <= {section["uuid"] for section in sections}
    assert len({item["uuid"] for item in (*charts, *sections)}) == len(charts) + len(sections)


def test_the_key_of_a_view_can_be_part_of_an_address() -> None:
    assert view_of("gqa@lmms").key == "bench.target.gqa.lmms"


def test_views_are_listed_with_the_targets_first_and_views_of_other_people_are_left_out() -> None:
    every = (*target_views(dict.fromkeys(TARGETS, "test"), TARGETS, SOURCES), commands_view(), searches_view())
    tags = {view.tag: view.text for view in every} | {"mlflow.sharedViewState.mine": "{}", "other": "x"}

    assert list(names_in(tags).values()) == ["gqa@lmms", "new", "Commands", "Searches", "All trials"]
    assert all(key.startswith(f"{KEY}.") for key in names_in(tags))


def test_the_view_of_commands_does_not_show_where_run_folders_are() -> None:
    assert state(commands_view())["selectedColumns"] == ["tags.`suite`"]
