"""What is offered where: asked as the shells' scripts ask."""

import pytest
from support.store import Store

pytestmark = pytest.mark.same_for_every_user


def offered(store: Store, *words: str) -> set[str]:
    """The candidates for the last of *words*."""
    lines = store.cli("__complete", "--", *words, check=True).stdout.splitlines()
    return {line.partition("\t")[0] for line in lines[1:]}


def offers_files(store: Store, *words: str) -> bool:
    return store.cli("__complete", "--", *words, check=True).stdout.startswith("files\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("comm",), {"commit"}),
        (("container", "comm"), {"commit"}),
        (("run", "--entry"), {"--entrypoint"}),
        (("run", "--network", ""), {"none", "host", "container:"}),
        (("run", "--network=h"), {"--network=host"}),
        (("run", "--rm=f"), {"--rm=false"}),
        (("run", "-it", "--rm", "-eA=1", "--name", "x", "busy"), {"busybox:latest"}),
        (("run", "--cap-add", "SYS_A"), {"SYS_ADMIN"}),
        (("run", "-e", "KERNEL_SANDBOX_H"), {"KERNEL_SANDBOX_HOME"}),
        (("kill", "-s", "SIGKI"), {"SIGKILL"}),
        (("kill", "--signal=WIN"), {"--signal=WINCH"}),
        (("rmi", "busybox:l"), {"busybox:latest"}),
        (("bootstrap", ""), {"python", "busybox"}),
        (("completion", ""), {"bash", "zsh", "fish"}),
        (("run", "--name", ""), set()),
        (("run", "busybox", ""), set()),
        (("run", "busybox", "--"), set()),
        (("run", "--nonsense", ""), set()),
        (("nosuch", ""), set()),
        (("container", "nosuch", ""), set()),
    ],
)
def test_commands_flags_and_values(shared_store: Store, words: tuple[str, ...], expected: set[str]) -> None:
    assert offered(shared_store, *words) == expected


def test_a_command_completes_to_the_containers_it_can_do_something_about(shared_store: Store, name: str) -> None:
    def offering(*commands: str) -> set[str]:
        return {command for command in commands if name in offered(shared_store, command, "")}

    always = {"rm", "logs", "inspect"}
    shared_store.cli("create", "--name", name, "busybox", "sleep", "100", check=True)
    assert offering(*always, "start", "stop", "exec", "unpause") == {*always, "start"}
    shared_store.cli("start", name, check=True)
    assert offering(*always, "start", "stop", "exec", "unpause") == {*always, "stop", "exec"}
    shared_store.cli("pause", name, check=True)
    assert offering(*always, "start", "stop", "exec", "unpause") == {*always, "stop", "unpause"}


def test_a_name_that_is_written_already_is_not_offered_again(shared_store: Store, name: str) -> None:
    shared_store.cli("create", "--name", name, "busybox", check=True)
    assert name not in offered(shared_store, "rm", "-f", name, "")


def test_names_stand_where_they_are_parts_of_words(shared_store: Store, name: str) -> None:
    shared_store.cli("run", "-d", "--name", name, "busybox", "sleep", "100", check=True)
    assert f"container:{name}" in offered(shared_store, "run", "--network", "container:")
    assert f"--network=container:{name}" in offered(shared_store, "run", "--network=container:")
    assert f"{name}:" in offered(shared_store, "cp", "")
    assert offers_files(shared_store, "cp", "")


def test_volumes_are_offered(shared_store: Store, name: str) -> None:
    shared_store.cli("volume", "create", name, check=True)
    try:
        assert name in offered(shared_store, "volume", "rm", "")
        assert f"{name}:" in offered(shared_store, "run", "-v", "")
        assert name in offered(shared_store, "inspect", "")
    finally:
        shared_store.cli("volume", "rm", name, check=True)


def test_files_are_offered_where_a_file_is_wanted(shared_store: Store) -> None:
    assert offers_files(shared_store, "import", "")
    assert offers_files(shared_store, "export", "-o", "")
    assert offers_files(shared_store, "run", "busybox", "cat", "")
    assert not offers_files(shared_store, "rm", "")


def test_a_store_that_is_not_there_offers_no_names(shared_store: Store) -> None:
    done = shared_store.cli("__complete", "--", "rm", "", env={"KERNEL_SANDBOX_HOME": "/dev/null/store"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "words\n", "")
