"""``inspect``: all about containers, images and volumes, as JSON or through a template."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.formatting import rendered, to_json
from kernel_sandbox.commands.results import Document, Lines, Result
from kernel_sandbox.errors import NotFound, SandboxError, UsageError

F = TypeVar("F", bound=Callable[..., object])
Look = Callable[[str], object]
_NO_TEMPLATE = 64
_TYPES = ("container", "image", "volume")


class InspectCommand(Command):
    """As with Docker, a template that is none has an exit code of its own."""

    def exit_code(self, error: SandboxError) -> int:
        """The program's exit code for an error of this command."""
        from kernel_sandbox.spec.template import TemplateError

        return _NO_TEMPLATE if isinstance(error, TemplateError) else 1


def inspected(names: tuple[str, ...], look: Look, template: str) -> Result:
    """An array of the objects that exist, or a template's lines, and an error for each of the others."""
    documents, errors = [], []
    for name in names:
        try:
            documents.append(look(name))
        except SandboxError as error:
            errors.append(error)
    if template:
        lines = rendered(template, documents) if documents else Lines(("",))
        return msgspec.structs.replace(lines, errors=(*errors, *lines.errors))
    return Document(to_json(documents), errors=tuple(errors))


def format_option(command: F) -> F:
    """``-f``, as every ``inspect`` has it."""
    return click.option(
        "-f", "--format", "template", default="", metavar="TEMPLATE", help="Show this of each: a Go template, or json."
    )(command)


def _size_option(command: F) -> F:
    return click.option("-s", "--size", is_flag=True, help="Tell how many bytes a container takes.")(command)


@click.command(cls=InspectCommand)
@format_option
@_size_option
@click.option("--type", "type_", default="", metavar="|".join(_TYPES), help="Look for objects of this type only.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.pass_obj
def inspect(context: Context, template: str, size: bool, type_: str, names: tuple[str, ...]) -> Result:
    """Show all about containers, images or volumes, as JSON."""
    if type_ not in ("", *_TYPES):
        raise SandboxError(f'unknown type: "{type_}": must be one of "container", "image", "volume"')
    looks: dict[str, Look] = {
        "container": _container(context, size), "image": _image(context), "volume": context.engine.volumes.document
    }  # fmt: skip
    if type_:
        return inspected(names, looks[type_], template)

    def look(name: str) -> object:
        for each in looks.values() if _is_reference(name) else (looks["container"], looks["volume"]):
            try:
                return each(name)
            except NotFound:
                continue
        raise NotFound(f"No such object: {name}")

    return inspected(names, look, template)


@click.command("inspect", cls=InspectCommand)
@format_option
@_size_option
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def inspect_container(context: Context, template: str, size: bool, containers: tuple[str, ...]) -> Result:
    """Show all about containers, as JSON."""
    return inspected(containers, _container(context, size), template)


@click.command("inspect", cls=InspectCommand)
@format_option
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.pass_obj
def inspect_image(context: Context, template: str, images: tuple[str, ...]) -> Result:
    """Show all about images, as JSON."""
    return inspected(images, _image(context), template)


def _container(context: Context, size: bool) -> Look:
    from kernel_sandbox.engine.inspect import container_document

    return lambda name: container_document(context.engine, name, size)


def _is_reference(name: str) -> bool:
    from kernel_sandbox.spec import reference

    try:
        reference.parse_any(name)
    except UsageError:
        return False
    return True


def _image(context: Context) -> Look:
    from kernel_sandbox.engine.inspect import image_document

    return lambda name: image_document(context.engine, name)
