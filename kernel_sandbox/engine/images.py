"""Images: found and named, made of archives, of containers and of this machine, and removed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.engine import image_names, locks, tasks
from kernel_sandbox.engine.content import Content
from kernel_sandbox.errors import NotFound, UsageError
from kernel_sandbox.runtime.launcher import call
from kernel_sandbox.spec import image as documents
from kernel_sandbox.spec import reference
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.storage.images import Image

if TYPE_CHECKING:
    from kernel_sandbox.engine.image_removal import Removed
    from kernel_sandbox.spec.derivation import Origin
    from kernel_sandbox.storage.state import Container


class Images(Content):
    """Docker's verbs on the images of one store."""

    def list(self, hidden: bool = False) -> tuple[Image, ...]:
        """Every image, newest first; *hidden* ones, too, which only containers have any more."""
        return self._state.images.all(hidden)

    def find(self, name: str) -> Image:
        """The image that *name* means: a reference, or an id or the start of one. Raises NotFound, UsageError."""
        return image_names.find(self._state.images, name)

    def of_container(self, container: Container) -> Image:
        """The image that a container was made from, also one that has been removed by force. Raises NotFound."""
        found = self._state.images.of_container(container.image)
        if not found:
            raise NotFound(f"No such image: {container.image}")
        return found

    def tag(self, source: str, target: str) -> None:
        """Give the image *source* one more name. Raises UsageError for a name that no image may have."""
        name = reference.parse_tag(target)
        with self.naming():
            image = self.find(source)
            self._state.images.tag(image.id, str(name))
        self.tell(image, "tag", self.labels(image), name.familiar())
        self.write_index()

    def tell(self, image: Image, action: str, labels: Mapping[str, str], name: str = "") -> None:
        """Record an event; what has happened to no single name bears the image's id."""
        self._state.events.record("image", action, image.id, {**labels, "name": name or str(image.id)})

    def remove(self, name: str, force: bool = False, prune: bool = True) -> Removed:
        """``rmi``: take a name away, and the image with its last one; see ``image_removal``. On a full disk, too.

        Raises Conflict while it is in use.
        """
        with self._paths.room():
            return self._remove(name, force, prune)

    def _remove(self, name: str, force: bool, prune: bool) -> Removed:
        from kernel_sandbox.engine import image_removal

        with self.naming():
            image = self.find(name)
            labels = self.labels(image)
            removed = image_removal.remove(self._state, image, name, force, prune)
        for _ in removed.untagged:
            self.tell(image, "untag", labels)
        for id_ in removed.images:
            self._state.events.record("image", "delete", id_, {"name": str(id_)})
        self.write_index()  # first: it names nothing that is not there
        if removed.deleted:
            self._collector.collect()
        return removed

    # Images of our own making

    def import_(
        self,
        source: int,
        name: str | None,
        changes: Iterable[str] = (),
        message: str = "",
        created_by: str = "",
        platform: documents.Platform | None = None,
    ) -> Image:
        """Make an image of one layer from the archive that descriptor *source* yields, compressed or not.

        It is for this *platform*, else for the machine's. Raises UsageError for one that no container can have.
        """
        from kernel_sandbox.spec import changes as instructions
        from kernel_sandbox.spec.derivation import Origin

        if platform and platform.os != "linux":
            raise UsageError("operating system is not supported")
        target = str(reference.parse_tag(name)) if name else None
        config = instructions.apply(documents.ContainerConfig(), changes)
        origin = Origin(created_by, message or "Imported from -")
        with self.adding():
            answer = self._call("ingest", tasks.InStore, descriptors=(source,))
            layer = msgspec.msgpack.decode(answer, type=decodable(tasks.NewLayer))
            image = self._derive(None, layer, config, origin, target, platform=platform)
        self.tell(image, "import", config.labels)
        return image

    def commit(
        self, base: Image, changes: tasks.PackDiff, config: documents.ContainerConfig, origin: Origin, name: str | None
    ) -> Image:
        """Make an image of *base* and what a container has changed."""
        target = str(reference.parse_tag(name)) if name else None
        with self.adding():
            answer = call(self._launcher, "pack_diff", tasks.encode(changes))
            layer = msgspec.msgpack.decode(answer, type=decodable(tasks.NewLayer))
            return self._derive(base, layer, config, origin, target)

    def bootstrap(self, kind: str = "python") -> tuple[Image, bool]:
        """The embedded image *kind*, ``python`` or ``busybox``, and whether it was made just now.

        It is made again only when its inputs have changed; of several processes one makes it, the others wait.
        """
        from kernel_sandbox.spec.derivation import Origin

        name, wanted = _bootstrap_inputs(kind)
        with locks.exclusive(os.path.join(self._paths.home, f"bootstrap-{kind}.lock")):
            present = self._state.images.by_name(name)
            if present and present.fingerprint == wanted:
                return present, False
            with self.adding():
                answer = self._call("bootstrap", tasks.Bootstrap, kind)
                made = msgspec.msgpack.decode(answer, type=decodable(tasks.NewBase))
                config = documents.ContainerConfig(
                    env=made.env, cmd=made.cmd, working_dir=made.working_dir, labels=dict(made.labels)
                )
                origin = Origin(f"kernel-sandbox bootstrap {kind}", "", "kernel-sandbox")
                image = self._derive(None, made.layer, config, origin, name, wanted, made.created)
                return image, True

    def _derive(
        self,
        base: Image | None,
        layer: tasks.NewLayer,
        config: documents.ContainerConfig,
        origin: Origin,
        name: str | None,
        fingerprint: str = "",
        created: int | None = None,
        platform: documents.Platform | None = None,
    ) -> Image:
        """Write the documents of an image whose newest layer is stored, and record it."""
        from kernel_sandbox.spec import derivation

        created = time.time_ns() if created is None else created
        machine = platform or documents.platform_of_machine(os.uname().machine)
        below = derivation.Base(self.config(base), self.manifest(base).layers) if base else None
        derived = derivation.derive(below, _blob(layer), Digest(layer.diff_id), config, origin, created, machine)
        id_ = self.layout.put(documents.encode(derived.config))
        manifest = derivation.manifest(derived, id_)
        encoded = documents.encode(manifest)
        image = Image(
            id=id_,
            manifest=self.layout.put(encoded),
            manifest_size=len(encoded),
            created=created,
            size=0,
            layers=(),
            fingerprint=fingerprint,
            tags=(name,) if name else (),
            parent=base.id if base else "",
        )
        layers = documents.layers(manifest, derived.config)
        sizes = {each.chain_id: layer.size for each in layers if each.diff_id == layer.diff_id}
        recorded = self.record(image, layers, sizes)
        self.write_index()
        if name:
            self.tell(recorded, "tag", config.labels, _familiar(name))
        return recorded


def _blob(layer: tasks.NewLayer) -> documents.Descriptor:
    return documents.Descriptor(media_type=documents.OCI_LAYER_GZIP, digest=Digest(layer.blob), size=layer.blob_size)


def _familiar(name: str) -> str:
    return reference.parse(name).familiar()


def _bootstrap_inputs(kind: str) -> tuple[str, str]:
    """The canonical name of an embedded image and what tells its inputs from others."""
    from kernel_sandbox.bootstrap import busybox, plan
    from kernel_sandbox.bootstrap.fingerprint import fingerprint

    if kind == "busybox":
        return str(reference.parse(plan.BUSYBOX_REFERENCE)), busybox.fingerprint()
    if kind == "python":
        return str(reference.parse(plan.python_reference())), fingerprint(plan.plan_python())
    raise UsageError(f"unknown image '{kind}': bootstrap makes python or busybox")
