"""The whole life of containers on a real Docker engine and on ours: the scenarios of ``scenarios/*.txt``.

Every step answers alike (see ``support.scenarios`` for the grammar and for what is masked), or stands in
``DIFFERENCES`` with its reason. A difference that has gone is a failure, too.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.scenarios import Player, Scenario, scenarios
from support.side_by_side import Pair

SCENARIOS = scenarios(Path(__file__).with_name("scenarios"))

# The step, and why ours answers otherwise.
DIFFERENCES = {
    "exec --detach-keys bad box true !! keys (bad) provided": "A wrong flag is 125, and is found before anything is done.",
    "run -d -a stdout pair true !! conflicting options: cannot specify both --attach and --detach": (
        "Every mistake in the flags of run is 125; Docker makes an exception of this one."
    ),
    "run --rm --cidfile nosuch/dir/id pair true"
    " !! failed to create the container ID file: open nosuch/dir/id: no such file or directory": (
        "Every failure of our own is 125; Docker's client takes these words for a missing command, which is 127."
    ),
    "run --rm --device /nosuch pair true !! error gathering device information"
    ' while adding custom device "/nosuch": no such file or directory': "The same words, the same mistake.",
    "cells top box": "The processes of a container have ids of its own range on the machine, which have no names there.",
    "run --rm -p 127.0.0.1:8080:80 pair true": "A port that is not published is refused rather than forgotten.",
    "inspect -f '{{json .HostConfig.MaskedPaths}}' made": "Today's Docker masks the interrupts and the power meter, too.",
    "inspect -f '{{.Driver}}{{with .GraphDriver}} {{.Name}}{{end}}' made": "Layers are not kept as Docker's overlay2 does.",
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
def test_both_engines_live_through_it_alike(pair: Pair, tmp_path: Path, scenario: Scenario) -> None:
    players = [
        Player(pair.docker.cli, tmp_path / "docker", ("--network", "none")),
        Player(pair.store.cli, tmp_path / "ours", ()),
    ]
    try:
        with ThreadPoolExecutor(2) as both:
            answers = [played.result() for played in [both.submit(each.play, scenario) for each in players]]
    finally:
        for each in players:
            each.forget()
    steps = [step for step in scenario.steps if step.counts]
    wrong = [
        f"{step.line}\n  docker: {docker}\n  ours:   {ours}"
        for step, docker, ours in zip(steps, *answers, strict=True)
        if step.agreed(docker, ours) == (step.line in DIFFERENCES)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_there_are_many_steps_and_every_listed_difference_is_one_of_them() -> None:
    lines = [step.line for scenario in SCENARIOS for step in scenario.steps if step.counts]
    assert len(lines) >= 250
    assert set(DIFFERENCES) <= set(lines)
