"""The lesson on images, executed and read: what its sentences promise is what its cells show."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from support.store import Store, temporary_store
from traitlets.config import Config

pytestmark = pytest.mark.same_for_every_user

LESSON = Path(__file__).resolve().parents[2] / "notebooks" / "02_images.ipynb"


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with temporary_store() as store:
        yield store


@pytest.fixture(scope="module")
def outputs(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """What the cells of code show, executed from the first to the last; a failed cell fails the tests."""
    notebook = nbformat.read(LESSON, as_version=4)
    sockets = tmp_path_factory.mktemp("lesson")
    config = Config(KernelManager={"transport": "ipc", "ip": str(sockets / "s")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERNEL_SANDBOX_HOME", str(store.home))
        resources = {"metadata": {"path": str(LESSON.parent)}}
        NotebookClient(notebook, timeout=100, resources=resources, config=config).execute()
    return tuple(output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)


def text(outputs: tuple[Any, ...], stream: str = "stdout") -> str:
    return "".join(output.text for output in outputs if output.get("name") == stream)


def drawn(outputs: tuple[Any, ...], form: str) -> str:
    return next(output.data[form] for output in outputs if "lesson/styled" in output.get("data", {}).get(form, ""))


def test_the_stacks_show_that_three_images_share_a_layer(outputs: tuple[Any, ...]) -> None:
    assert drawn(outputs, "text/plain").count("· shared  site/numbers  109kB, site/index.html  15B") == 3
    assert "site/.wh.numbers" in drawn(outputs, "text/plain")
    colours = re.findall("background: (hsl[^;]+);", drawn(outputs, "text/html"))
    assert len(colours) == 9
    assert len(set(colours)) == 4


@pytest.mark.parametrize(
    "line",
    [
        "the id of lesson/site:latest is the same: True\n",
        " index.json\n",
        " manifest.json\n",
        "the same image: True\n",
        "Loaded image: lesson/small:latest\n",
        "PUT   /v2/lesson/styled/manifests/1  201\n",
        "<h1>Hello</h1>\nbody { color: navy }\n",
    ],
)
def test_the_cells_show_what_the_sentences_promise(outputs: tuple[Any, ...], line: str) -> None:
    assert line in text(outputs)


def test_only_one_layer_travels_where_two_are_there(outputs: tuple[Any, ...]) -> None:
    asked = text(outputs).splitlines()
    uploads = [line for line in asked if line.startswith("PUT   /v2/lesson/styled/blobs/")]
    assert len(uploads) == 2, "the layer and the configuration"
    assert len([line for line in asked if line.startswith("GET   /v2/lesson/styled/blobs/")]) == 2


def test_nobody_complains_and_nothing_is_left(outputs: tuple[Any, ...], store: Store) -> None:
    assert text(outputs, "stderr") == ""
    assert store.cli("ps", "-aq").stdout == ""
    assert store.cli("images", "--format", "{{.Repository}}").stdout == "busybox\n"


def test_the_notebook_carries_its_outputs() -> None:
    cells = [cell for cell in nbformat.read(LESSON, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
