"""The whole life of containers on a real Docker engine and on ours: the scenarios of ``scenarios/*.txt``.

Every step answers alike (see ``support.scenarios`` for the grammar and for what is masked), or stands in
``DIFFERENCES`` with its reason. A difference that has gone is a failure, too.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.peers import Peer
from support.scenarios import Player, Scenario, scenarios
from support.side_by_side import IMAGE, Pair, rich_rootfs_tar
from support.store import temporary_store

SCENARIOS = scenarios(Path(__file__).with_name("scenarios"))

# The step, and why ours answers otherwise.
DIFFERENCES: dict[str, str] = {}


@pytest.fixture(scope="module")
def pair(docker: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Docker and a store of ours, each with the image ``pair`` from one archive."""
    archive = rich_rootfs_tar(tmp_path_factory.mktemp("rootfs"))
    docker.cli("import", archive, IMAGE, check=True)
    with temporary_store() as store:
        store.cli("import", archive, IMAGE, check=True)
        yield Pair(docker, store)
    docker.cli("rmi", "-f", IMAGE)


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
