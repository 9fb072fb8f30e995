"""``manifest inspect``: a manifest or an index in a registry, in the shape that Docker's client gives it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.results import Document, Result
from kernel_sandbox.spec import reference as references
from kernel_sandbox.spec.image import DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST, Descriptor, Index
from kernel_sandbox.spec.json_text import harmless

if TYPE_CHECKING:
    from kernel_sandbox.engine.remote_manifests import RemoteManifest

_TAB = "\t"
_LIST_INDENT = 3  # as Docker's client writes the indexes that it composes


@syntax.command(Command, "inspect")
@syntax.option("--insecure", is_flag=True, help="Do not insist on TLS.")
@syntax.option("-v", "--verbose", is_flag=True, help="Each manifest in full, with digests and platforms.")
@syntax.argument("name", metavar="MANIFEST")
def inspect(context: Context, insecure: bool, verbose: bool, name: str) -> Result:
    """Show an image's manifest, or index of manifests, as JSON."""
    from kernel_sandbox.engine import remote_manifests

    reference = references.parse(name)
    if verbose:
        found = remote_manifests.look_closely(context.environment, reference, insecure)
        shown = [_in_full(each) for each in found]
        is_index = len(found) != 1 or found[0].reference != reference
        return Document(_json(shown if is_index else shown[0], _TAB))
    seen = remote_manifests.look(context.environment, reference, insecure)
    if isinstance(seen.document, Index):
        return Document(_json(_list(seen.document), _LIST_INDENT))
    return Document(_json(json.loads(seen.content), _TAB))


def _in_full(found: RemoteManifest) -> dict[str, Any]:
    descriptor = found.descriptor
    member = "OCIManifest" if descriptor.media_type == OCI_MANIFEST else "SchemaV2Manifest"
    return {
        "Ref": found.reference.familiar(),
        "Descriptor": {
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size,
            **({"platform": _platform(descriptor)} if descriptor.platform else {}),
        },
        "Raw": base64.b64encode(found.content).decode(),
        member: json.loads(found.content),
    }


def _list(index: Index) -> dict[str, Any]:
    """The index composed anew of what its entries are and what they are for: Docker's client drops the rest."""
    first = index.manifests[0].media_type if index.manifests else ""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX if first == OCI_MANIFEST else DOCKER_MANIFEST_LIST,
        "manifests": [
            {
                "mediaType": each.media_type,
                "size": each.size,
                "digest": each.digest,
                "platform": _platform(each),
            }
            for each in index.manifests
        ],
    }


def _platform(descriptor: Descriptor) -> dict[str, Any]:
    platform = descriptor.platform
    if platform is None:
        return {"architecture": "", "os": ""}
    optional = {
        "os.version": platform.os_version,
        "os.features": platform.os_features,
        "variant": platform.variant,
    }
    return {
        "architecture": platform.architecture,
        "os": platform.os,
        **{name: value for name, value in optional.items() if value},
    }


def _json(document: object, indent: str | int) -> str:
    return harmless(json.dumps(document, indent=indent, ensure_ascii=False))
