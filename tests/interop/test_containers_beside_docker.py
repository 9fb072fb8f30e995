"""The whole life of containers on a real Docker engine and on ours: the scenarios of ``scenarios/*.txt``.

Every step answers alike, or the scenario says why ours differs (``differs``; see ``support.scenarios`` for the grammar
and for what is masked). A difference that has gone is a failure, too.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.peers import Peer
from support.scenarios import Player, Scenario, scenarios
from support.side_by_side import Pair

SCENARIOS = scenarios(Path(__file__).with_name("scenarios"))


@pytest.fixture(scope="module", autouse=True)
def _client_of_today(docker: Peer) -> None:
    """The words that the scenarios quote are of a client that older ones do not speak like."""
    version = docker.cli("version", "--format", "{{.Client.Version}}").stdout.strip()
    if int(version.partition(".")[0]) < 28:
        pytest.skip(f"the scenarios speak like Docker's client 28, and this is {version}")


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
        if step.agreed(docker, ours) == bool(step.differs)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_there_are_many_steps() -> None:
    assert sum(step.counts for scenario in SCENARIOS for step in scenario.steps) >= 250
