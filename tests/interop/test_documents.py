"""Every document of an image that we write is what the image-spec's own JSON schemas ask for."""

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4
from support.machine import SCHEMAS
from support.store import Store, temporary_store
from support.tar_files import Entry, tar_of
from support.waiting import unavailable

SCHEMA_OF = {"index": "image-index-schema.json", "manifest": "image-manifest-schema.json",
             "config": "config-schema.json", "layout": "image-layout-schema.json"}  # fmt: skip
KIND_OF = {
    "application/vnd.oci.image.index.v1+json": "index",
    "application/vnd.oci.image.manifest.v1+json": "manifest",
    "application/vnd.oci.image.config.v1+json": "config",
}
CHANGES = ("CMD a b", "ENTRYPOINT sh", "ENV A=1", "EXPOSE 80", "LABEL a=b", "ONBUILD RUN x", "STOPSIGNAL SIGUSR1",
           "USER a", "VOLUME /v", "WORKDIR /w")  # fmt: skip


@pytest.fixture(scope="module")
def validators() -> Mapping[str, Any]:
    """A validator for each kind of document; the schemas refer to each other by file name."""
    if not Path(SCHEMAS).is_dir():
        unavailable(f"not installed: {SCHEMAS}")
    schemas = {path.name: _without_ids(json.loads(path.read_text())) for path in Path(SCHEMAS).glob("*.json")}
    resources = [(name, Resource(schema, DRAFT4)) for name, schema in schemas.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    return {
        kind: validator_for(schemas[name], jsonschema.Draft4Validator)(schemas[name], registry=registry)
        for kind, name in SCHEMA_OF.items()
    }


def _without_ids(schema: Any) -> Any:
    """Relative to its ``id``, a reference would lead to the web."""
    if isinstance(schema, dict):
        return {key: _without_ids(value) for key, value in schema.items() if key != "id" or isinstance(value, dict)}
    return [_without_ids(each) for each in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def ours() -> Iterator[Store]:
    """A store with images that were bootstrapped, imported and committed, ``made:1`` with all that can be changed."""
    flags = [word for change in CHANGES for word in ("-c", change)]
    with temporary_store() as store:
        store.bootstrap("busybox")
        store.cli("import", *flags, "-m", "note", "-", "made:0", input=tar_of([Entry("a")]), text=False, check=True)
        store.cli("create", "--name", "changed", "busybox", "true", check=True)
        store.cli("cp", "-", "changed:/", input=tar_of([Entry("b")]), text=False, check=True)
        store.cli("commit", *flags, "-m", "note", "-a", "me", "changed", "made:1", check=True)
        store.cli("commit", "changed", check=True)
        store.cli("rm", "changed", check=True)
        yield store


def check_layout(directory: Path, validators: Mapping[str, Any]) -> int:
    """Validate a layout's two files and every document that its index leads to; returns how many these are."""
    validators["layout"].validate(json.loads((directory / "oci-layout").read_text()))
    index = json.loads((directory / "index.json").read_text())
    validators["index"].validate(index)
    return sum(_check(directory, entry, validators) for entry in index["manifests"])


def _check(directory: Path, entry: dict[str, Any], validators: Mapping[str, Any]) -> int:
    if entry["mediaType"] not in KIND_OF:
        return 0
    document = json.loads((directory / "blobs" / entry["digest"].replace(":", "/")).read_text())
    validators[KIND_OF[entry["mediaType"]]].validate(document)
    below = [*document.get("manifests", ()), *([document["config"]] if "layers" in document else ())]
    return 1 + sum(_check(directory, each, validators) for each in below)


def test_the_stores_documents_are_valid(ours: Store, validators: Mapping[str, Any]) -> None:
    assert check_layout(ours.home / "oci", validators) == 8


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_saved_documents_are_valid(ours: Store, validators: Mapping[str, Any], tmp_path: Path, form: str) -> None:
    target = tmp_path / "saved"
    ours.cli("save", "--format", form, "-o", target, "made", "busybox", check=True)
    if form != "oci-dir":
        (tmp_path / "unpacked").mkdir()
        with tarfile.open(target) as tar:
            tar.extractall(tmp_path / "unpacked", filter="data")
        target = tmp_path / "unpacked"
    assert check_layout(target, validators) == 6
