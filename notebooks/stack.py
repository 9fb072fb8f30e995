"""Images drawn as stacks of layers, for the lesson ``02_images.ipynb``.

archive = %container save one two
draw(archive)                           one stack beside the other; a layer that both have has one colour in both
"""

import io
import json
import tarfile
from dataclasses import dataclass
from html import escape

SHOWN = 4  # files of a layer that are named
WIDEST = 60  # characters of the command that made it


@dataclass(frozen=True)
class Layer:
    """One layer: the digest of its files, how it was made, its files by name with their bytes."""

    digest: str
    made_by: str
    files: dict

    @property
    def size(self):
        return sum(self.files.values())

    def count(self):
        return "1 file" if len(self.files) == 1 else f"{len(self.files)} files"

    def rows(self):
        """What is in it, the biggest first: names and sizes."""
        biggest = sorted(self.files, key=lambda name: (-self.files[name], name))[:SHOWN]
        more = len(self.files) - len(biggest)
        return [(name, human(self.files[name])) for name in biggest] + ([(f"… {more} more", "")] if more else [])


@dataclass(frozen=True)
class Stacks:
    """What ``draw`` makes; a notebook shows it as a picture, a terminal as text."""

    images: dict  # name: layers, the lowest first

    def _repr_html_(self):
        columns = "".join(self._column(name, layers) for name, layers in self.images.items())
        return f'<div style="display: flex; gap: 24px; align-items: flex-end">{columns}</div>'

    def _column(self, name, layers):
        boxes = "".join(self._box(layer) for layer in reversed(layers))
        return f'<div style="width: 17em">{boxes}<div style="text-align: center"><b>{escape(name)}</b></div></div>'

    def _box(self, layer):
        colour = f"hsl({self._distinct().index(layer) * 137 % 360}, 70%, 88%)"
        style = (
            f"background: {colour}; color: black; border: 1px solid #888; border-radius: 4px; overflow-wrap: anywhere"
        )
        title = f"<b>{layer.digest[:12]}</b>{self._shared(layer)}<div>{human(layer.size)} · {layer.count()}</div>"
        made_by = f"<div><i>{escape(shortened(layer.made_by))}</i></div>"
        row = '<div style="display: flex; justify-content: space-between"><span>{}</span><span>{}</span></div>'
        files = "".join(row.format(escape(name), size) for name, size in layer.rows())
        return f'<div style="{style}; margin: 3px; padding: 6px">{title}{made_by}<small>{files}</small></div>'

    def _distinct(self):
        """Every layer once: golden angles between their hues keep the colours apart."""
        return list({layer.digest: layer for layers in self.images.values() for layer in layers}.values())

    def _shared(self, layer):
        return " · shared" if sum(layer in layers for layers in self.images.values()) > 1 else ""

    def __repr__(self):
        return "\n\n".join("\n".join([name, *self._rows(layers)]) for name, layers in self.images.items())

    def _rows(self, layers):
        for layer in reversed(layers):
            size = f"{layer.digest[:12]}  {human(layer.size):>8}  {layer.count():>9}{self._shared(layer)}"
            yield f"  {size}  {', '.join('  '.join(row).strip() for row in layer.rows())}"


def draw(archive):
    """The images of an archive that ``save`` wrote."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return Stacks({image["RepoTags"][0]: layers(tar, image) for image in read(tar, "manifest.json")})


def layers(tar, image):
    """An image's layers, the lowest first, with their lines of its history."""
    config = read(tar, image["Config"])
    digests = [digest.removeprefix("sha256:") for digest in config["rootfs"]["diff_ids"]]
    history = [step.get("created_by", "") for step in config["history"] if not step.get("empty_layer")]
    contents = [files(tar.extractfile(blob)) for blob in image["Layers"]]
    return [Layer(*each) for each in zip(digests, history, contents)]


def files(blob):
    with tarfile.open(fileobj=blob) as layer:
        return {
            member.name: member.size + len(member.linkname) * member.issym() for member in layer if not member.isdir()
        }


def read(tar, name):
    return json.load(tar.extractfile(name))


def shortened(text):
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}…"


def human(size):
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g}{unit}"
        size /= 1000
    return f"{size:.3g}GB"
