"""``cp``'s arguments, and where a copy goes."""

import pytest

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.copying import Place, Route, parse_path, parse_place, parse_route, takes_new_name


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("name:/path", Place("name", "/path")),
        ("name:path:with:colons", Place("name", "path:with:colons")),
        ("name:", Place("name", "")),
        ("plain", Place("", "plain")),
        ("./a:b", Place("", "./a:b")),
        ("../a:b", Place("", "../a:b")),
        (".hidden:b", Place("", ".hidden:b")),
        ("/a:b", Place("", "/a:b")),
        ("-", Place("", "-")),
        (":/x", Place("", "/x")),
    ],
)
def test_a_colon_tells_a_container_from_a_path(text: str, place: Place) -> None:
    assert parse_place(text) == place


def test_one_of_the_places_is_in_a_container() -> None:
    assert parse_route("c:/a", "b") == Route("c", "/a", "b", False)
    assert parse_route("-", "c:/a") == Route("c", "-", "/a", True)


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [
        ("a", "b", "must specify at least one container source"),
        ("c:/a", "d:/b", "copying between containers is not supported"),
        ("", "c:/b", "source can not be empty"),
        ("c:/a", "", "destination can not be empty"),
        ("c:", "b", "path cannot be empty"),
        ("a", "c:", "no such directory"),
    ],
)
def test_a_wrong_route_is_refused_in_dockers_words(source: str, destination: str, words: str) -> None:
    with pytest.raises(SandboxError, match=words):
        parse_route(source, destination)


@pytest.mark.parametrize(
    ("text", "path", "parent", "name", "is_directory"),
    [
        ("/a/b", "/a/b", "/a", "b", False),
        ("a/b/", "/a/b", "/a", "b", True),
        ("/a/b/.", "/a/b", "/a/b", ".", True),
        ("/a/../b", "/b", "/", "b", False),
        ("/../../x", "/x", "/", "x", False),
        ("//x//y", "/x/y", "/x", "y", False),
        ("/", "/", "/", "/", True),
        ("/.", "/", "/", ".", True),
        ("", "/", "/", "/", False),
    ],
)
def test_a_path_keeps_what_its_end_asks_for(text: str, path: str, parent: str, name: str, is_directory: bool) -> None:
    parsed = parse_path(text)
    assert (parsed.text, parsed.parent, parsed.name, parsed.is_directory) == (path, parent, name, is_directory)


def test_a_path_is_seen_from_its_base() -> None:
    assert parse_path("x/../y", "/home/me").text == "/home/me/y"
    assert parse_path(".", "/home/me").is_content
    assert parse_path("/abs", "/home/me").text == "/abs"


@pytest.mark.parametrize(
    ("source_is_directory", "exists", "is_directory", "wants_directory", "new_name"),
    [
        (False, False, False, False, True),
        (False, True, False, False, True),
        (False, True, True, False, False),
        (False, True, True, True, False),
        (True, False, False, False, True),
        (True, False, False, True, True),
        (True, True, True, True, False),
    ],
)
def test_a_copy_is_renamed_unless_a_directory_takes_it(
    source_is_directory: bool, exists: bool, is_directory: bool, wants_directory: bool, new_name: bool
) -> None:
    assert takes_new_name(source_is_directory, exists, is_directory, wants_directory) is new_name


def test_what_cannot_go_there_is_refused_in_dockers_words() -> None:
    with pytest.raises(SandboxError, match=r"^cannot copy directory$"):
        takes_new_name(source_is_directory=True, exists=True, is_directory=False, wants_directory=False)
    with pytest.raises(SandboxError, match=r"^no such directory$"):
        takes_new_name(source_is_directory=False, exists=False, is_directory=False, wants_directory=True)
