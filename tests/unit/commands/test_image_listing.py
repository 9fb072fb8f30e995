"""Rows, drawings and histories of images as an engine that only knows these would give them."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from kernel_sandbox.commands.history import HistoryRow, history_row
from kernel_sandbox.commands.image_listing import image_rows
from kernel_sandbox.commands.layer_tree import LayerRow, drawn
from kernel_sandbox.commands.results import Table
from kernel_sandbox.engine.image_history import history
from kernel_sandbox.engine.image_listing import ListedImage, listed
from kernel_sandbox.errors import CorruptContent, SandboxError
from kernel_sandbox.spec import reference
from kernel_sandbox.spec.digest import Digest, chain_ids
from kernel_sandbox.spec.filters import Filters, parse
from kernel_sandbox.spec.image import History, ImageConfig, RootFS
from kernel_sandbox.storage.images import Image, Layer

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


def image(name: str, *layers: str, tags: str = "", digests: str = "", created: int = 0, parent: str = "") -> Image:
    """An image whose layers have as many bytes as their names."""
    chain = chain_ids(Digest.of(layer.encode()) for layer in layers)
    return Image(
        id=Digest.of(name.encode()),
        manifest=Digest.of(f"manifest of {name}".encode()),
        manifest_size=1,
        created=created,
        size=sum(map(len, layers)),
        layers=tuple(Layer(ONE, chain_id, len(layer)) for chain_id, layer in zip(chain, layers, strict=True)),
        tags=tuple(str(reference.parse(tag)) for tag in tags.split()),
        digests=tuple(str(reference.parse(digest)) for digest in digests.split()),
        parent=parent and Digest.of(parent.encode()),
    )


BASE = image("base", "trunk", tags="base:1 base", created=1)
LEFT = image("left", "trunk", "left", tags="left", created=2, parent="base")
RIGHT = image("right", "trunk", "right", "tip", created=3)
OTHER = image("other", "other", tags="other", created=4)
EMPTY = image("empty", tags="empty", created=5)
FOREST = (EMPTY, OTHER, RIGHT, LEFT, BASE)


def engine(*images: Image, **histories: tuple[History, ...]) -> Any:
    """What listings ask an engine; layers are told to be made by what they are called, the rest by *histories*."""
    names = {Digest.of(name.encode()): name for name in ("base", "left", "right", "other", "empty")}
    stacks = {"base": ["trunk"], "left": ["trunk", "left"], "right": ["trunk", "right", "tip"], "other": ["other"]}

    def config(image: Image) -> ImageConfig:
        stack = stacks.get(names[image.id], [])
        told = tuple(History(created_by=f"make {layer}") for layer in stack)
        diff_ids = tuple(Digest.of(layer.encode()) for layer in stack)
        return ImageConfig(
            architecture="amd64",
            os="linux",
            rootfs=RootFS(type="layers", diff_ids=diff_ids),
            history=histories.get(names[image.id], told),
        )

    def find(name: str) -> Image:
        return next(each for each in images if names[each.id] == name)

    return SimpleNamespace(
        images=SimpleNamespace(
            list=lambda: images,
            find=find,
            config=config,
            labels=lambda each: {"side": "left"} if each == LEFT else {},
        )
    )


def shown(*filters: str, all_: bool = False, images: tuple[Image, ...] = FOREST) -> list[str]:
    found = listed(engine(*images), Filters.of(map(parse, filters)), all_)
    return [" ".join(tag.familiar() for tag in each.tags) or "<none>" for each in found]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ((), ["empty:latest", "other:latest", "<none>", "left:latest", "base:1 base:latest"]),
        (("dangling=true",), ["<none>"]),
        (("dangling=false",), ["empty:latest", "other:latest", "left:latest", "base:1 base:latest"]),
        (("label=side",), ["left:latest"]),
        (("label!=side", "reference=*e*"), ["empty:latest", "other:latest", "base:1 base:latest"]),
        (("reference=base:*",), ["base:1 base:latest"]),
        (("reference=base:1", "reference=left"), ["left:latest", "base:1"]),
        (("before=other", "since=base"), ["<none>", "left:latest"]),
        (("before=other", "before=left"), ["base:1 base:latest"]),
        (("since=base", "since=other"), ["empty:latest"]),
        (("until=1970-01-01T00:00:00.000000003Z",), ["left:latest", "base:1 base:latest"]),
    ],
)
def test_filters_choose(filters: tuple[str, ...], names: list[str]) -> None:
    assert shown(*filters) == names


def test_a_nameless_parent_is_shown_among_all_only() -> None:
    images = (LEFT, image("base", "trunk"))
    assert shown(images=images) == ["left:latest"]
    assert shown(images=images, all_=True) == ["left:latest", "<none>"]
    assert shown("dangling=true", images=images, all_=True) == []


@pytest.mark.parametrize(
    ("filters", "complaint"),
    [
        (("bogus=1",), "Invalid filter 'bogus'"),
        (("dangling=x",), r"Invalid filter 'dangling=\[x\]'"),
        (("until=1h", "until=2h"), "more than one until filter specified"),
        (("reference=[",), "syntax error in pattern"),
    ],
)
def test_wrong_filters_are_refused(filters: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(SandboxError, match=complaint):
        shown(*filters)


@pytest.mark.parametrize(
    ("tags", "digests", "plain", "with_digests"),
    [
        ("", "", ["<none> <none> <none>"], ["<none> <none> <none>"]),
        ("a:1 a:2", f"a@{ONE}", ["a 1 <none>", "a 2 <none>"], [f"a 1 {ONE}", f"a 2 {ONE}"]),
        ("a:1", f"a@{ONE} a@{TWO}", ["a 1 <none>"], [f"a 1 {ONE}", f"a 1 {TWO}"]),
        ("a:1", f"x/b@{ONE}", ["a 1 <none>", "x/b <none> "], ["a 1 <none>", f"x/b <none> {ONE}"]),
        ("", f"a@{ONE} a@{TWO}", ["a <none> "], [f"a <none> {ONE}", f"a <none> {TWO}"]),
    ],
)
def test_tags_and_digests_pair_as_in_dockers_table(
    tags: str, digests: str, plain: list[str], with_digests: list[str]
) -> None:
    each = ListedImage(BASE, tuple(map(reference.parse, tags.split())), tuple(map(reference.parse, digests.split())))
    for rows, wanted in ((image_rows(each), plain), (image_rows(each, digests=True), with_digests)):
        assert [f"{row.repository} {row.tag} {row.digest}" for row in rows] == wanted


def drawing(no_trunc: bool = False) -> Table:
    store = engine(*FOREST)
    table = drawn(store, listed(store, Filters()), no_trunc)
    assert isinstance(table, Table)
    return table


def test_the_tree_shows_what_images_stand_on_and_share() -> None:
    hexes = {layer: Digest.of(layer.encode()).hex[:12] for layer in ("trunk", "left", "right", "tip", "other")}
    nameless = f"<none> ({RIGHT.id.hex[:12]})"
    assert drawing().rows == (
        (f"┬ {hexes['trunk']}", "5B", "5B", "3 images", "base:1, base:latest", "make trunk"),
        (f"├── {hexes['left']}", "4B", "9B", "", "left:latest", "make left"),
        (f"└─┬ {hexes['right']}", "5B", "10B", "", "", "make right"),
        (f"  └ {hexes['tip']}", "3B", "13B", "", nameless, "make tip"),
        (f"─ {hexes['other']}", "5B", "5B", "", "other:latest", "make other"),
        ("─ (no layer)", "0B", "0B", "", "empty:latest", ""),
    )
    assert drawing().text().endswith("5 images, 5 layers, 1 of them shared: 22B on the disk instead of 32B.")


def test_a_stack_is_a_straight_line() -> None:
    (first, *_), (second, *_), (third, *_) = drawn(engine(RIGHT), (ListedImage(RIGHT),), no_trunc=False).rows  # type: ignore[attr-defined]
    assert (first[:2], second[:2], third[:2]) == ("┬ ", "│ ", "└ ")


def test_the_trees_rows_are_values() -> None:
    row = drawing().items[3]
    assert isinstance(row, LayerRow)
    assert (row.depth, row.size, row.total, row.users) == (2, 3, 13, 1)
    assert row.diff_id == Digest.of(b"tip") and drawing(no_trunc=True).rows[3][0].endswith(Digest.of(b"tip"))


def test_a_damaged_image_is_drawn_with_what_is_known() -> None:
    store = engine(OTHER)

    def config(_: Image) -> ImageConfig:
        raise CorruptContent("gone")

    store.images.config = config
    (row,) = drawn(store, (ListedImage(OTHER),), no_trunc=False).items  # type: ignore[attr-defined]
    assert row.size == 5 and row.created_by == ""


def events(*told: History) -> list[tuple[str, str, int]]:
    return [(event.image, event.created_by, event.size) for event in history(engine(LEFT, BASE, left=told), "left")]


def test_history_goes_from_image_to_image_and_from_layer_to_layer() -> None:
    assert events(
        History(created_by="FROM"), History(created_by="CMD", empty_layer=True), History(created_by="ADD")
    ) == [(LEFT.id, "ADD", 4), (BASE.id, "CMD", 0), ("", "FROM", 5)]


def test_a_history_that_does_not_fit_the_layers_is_told_all_the_same() -> None:
    assert events() == []
    assert events(*(History(created_by=word) for word in "abc")) == [
        (LEFT.id, "c", 0), (BASE.id, "b", 4), ("", "a", 5),
    ]  # fmt: skip


def row_of(told: History) -> HistoryRow:
    return history_row(history(engine(LEFT, left=(told,)), "left")[0], human=True)


def test_a_history_gives_no_orders_to_a_terminal_and_does_not_break_the_table() -> None:
    row = row_of(History(created_by="RUN\ta\nb\x1b[31m", comment="x\ry"))
    assert (row.created_by, row.comment) == ("RUN a b [31m", "x y")


@pytest.mark.parametrize(
    ("zone", "told", "shown"),
    [
        ("UTC", "2020-01-01T00:00:00.5+02:00", "2019-12-31T22:00:00Z"),
        ("IST-5:30", "2020-01-01T00:00:00Z", "2020-01-01T05:30:00+05:30"),
        ("LMT4:56:02", "0001-01-01T00:00:00Z", "0000-12-31T19:03:58-04:56"),
        ("IST-5:30", "9999-12-31T23:59:59Z", "10000-01-01T05:29:59+05:30"),
    ],
)
def test_moments_are_those_of_the_users_zone(monkeypatch: Any, zone: str, told: str, shown: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert row_of(History(created=told)).created_at == shown
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("moment", ["", "1970-01-01T00:00:00Z", "2020-13-41T00:00:00Z"])
def test_a_date_that_tells_nothing_is_not_told(moment: str) -> None:
    assert row_of(History(created=moment)).created == "N/A"
