"""`--format` templates: the part of Go's text/template that Docker's users use. Text in, text out.

    template = compile("{{range .Mounts}}{{.Source}} {{end}}")
    template.render(container)

What a template means is here, after the documentation of Go's package text/template; how it is written is in
`kernel_sandbox.spec.template_syntax`, what functions do in `kernel_sandbox.spec.template_functions`, how values
print in `kernel_sandbox.spec.template_values`. Docker's words ``table``, ``json`` and ``raw`` are no templates and
not known here.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from kernel_sandbox.spec.template_functions import FUNCTIONS, HEADER_FUNCTIONS
from kernel_sandbox.spec.template_functions import Function as Operation
from kernel_sandbox.spec.template_syntax import (
    Command,
    Control,
    Dot,
    Fields,
    Function,
    Jump,
    Literal,
    Node,
    Parser,
    Pipeline,
    Statements,
    TemplateError,
    Variable,
)
from kernel_sandbox.spec.template_values import (
    NIL,
    NO_VALUE,
    NoValue,
    go_type,
    show,
    sorted_items,
    struct_fields,
    truth,
)

__all__ = ["Template", "TemplateError", "compile"]

_NONE: Mapping[str, Callable[[str], object]] = {}
_MAX_OUTPUT = 64 << 20  # characters: a template of nested ranges can ask for more than any memory holds


def compile(text: str) -> "Template":
    """Parse a template. Raises TemplateError in Go's words, such as ``template: :1: unclosed action``."""
    try:
        return Template(text, Parser(text).parse())
    except RecursionError as error:
        raise TemplateError(":1: nested too deeply") from error


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    text: str
    statements: Statements

    def render(
        self, value: object, strict: bool = False, methods: Mapping[str, Callable[[str], object]] = _NONE
    ) -> str:
        """The template filled in; ``value`` is its dot: mappings, sequences, scalars and msgspec structs.

        ``methods`` are what can be called with a string on that dot: ``{{.Label "key"}}``. A map without the key asked
        for gives ``<no value>``, or an error if ``strict`` (Go's missingkey=error); a struct without the field is
        always an error. Raises TemplateError when the template does not fit.
        """
        run = _Run(self.text, value, strict, methods)
        try:
            run.write(self.statements, value)
        except RecursionError as error:
            raise TemplateError(":1: nested too deeply") from error
        return "".join(run.output)

    def render_head(self, titles: Mapping[str, str], methods: Mapping[str, Callable[[str], object]] = _NONE) -> str:
        """A table's head of *titles* by field, which functions leave alone; it ends where the template does not fit."""
        run = _Run(self.text, titles, False, methods, {**FUNCTIONS, **HEADER_FUNCTIONS})
        with suppress(TemplateError, RecursionError):
            run.write(self.statements, titles)
        return "".join(run.output)


class _Break(Exception):
    """``{{break}}``: the innermost range ends."""


class _Continue(Exception):
    """``{{continue}}``: it goes on with its next element."""


class _Run:
    """One execution: what was written, and the variables in scope, innermost last."""

    def __init__(
        self,
        text: str,
        root: object,
        strict: bool,
        methods: Mapping[str, Callable[[str], object]],
        functions: Mapping[str, Operation] = FUNCTIONS,
    ) -> None:
        self.text = text
        self.functions = functions
        self.root = root
        self.strict = strict
        self.methods = methods
        self.variables = [("$", root)]
        self.output: list[str] = []
        self.length = 0

    def write(self, statements: Statements, dot: object) -> None:
        for statement in statements:
            if isinstance(statement, str):
                self.emit(statement)
            elif isinstance(statement, Control):
                self.control(statement, dot)
            elif isinstance(statement, Jump):
                raise _Break if statement.keyword == "break" else _Continue
            else:
                value = self.pipeline(statement, dot)
                if not statement.variables:
                    self.emit("<no value>" if value is None else show(value))

    def emit(self, text: str) -> None:
        self.length += len(text)
        if self.length > _MAX_OUTPUT:
            raise TemplateError(":1: the output is too long")
        self.output.append(text)

    def control(self, control: Control, dot: object) -> None:
        scope = len(self.variables)
        if control.keyword == "range":
            self.range(control, dot)
        else:
            value = self.pipeline(control.pipeline, dot)
            inner = value if control.keyword == "with" and truth(value) else dot
            self.write(control.body if truth(value) else control.otherwise, inner)
        del self.variables[scope:]

    def range(self, control: Control, dot: object) -> None:
        scope = len(self.variables)
        empty = True
        for key, element in self.elements(control.pipeline, self.commands(control.pipeline, dot)):
            empty = False
            names = control.pipeline.variables
            self.bind(control.pipeline, ((key, element) if len(names) == 2 else (element,))[: len(names)])
            try:
                self.write(control.body, element)
            except _Continue:
                pass
            except _Break:
                break
            finally:
                del self.variables[scope:]
        if empty:
            self.write(control.otherwise, dot)

    def elements(self, node: Node, value: object) -> Iterator[tuple[object, object]]:
        if isinstance(value, Mapping):
            return iter(sorted_items(value))
        if isinstance(value, list | tuple):
            return iter(enumerate(value))
        if value is None or isinstance(value, NoValue):
            return iter(())
        if isinstance(value, int) and not isinstance(value, bool):
            return ((number, number) for number in range(value))
        raise self.error(node, f"range can't iterate over {show(value)}")

    def pipeline(self, pipeline: Pipeline, dot: object) -> object:
        value = self.commands(pipeline, dot)
        self.bind(pipeline, (value,) if pipeline.variables else ())
        return value

    def commands(self, pipeline: Pipeline, dot: object) -> object:
        value = self.command(pipeline.commands[0], dot, ())
        for command in pipeline.commands[1:]:
            value = self.command(command, dot, (value,))
        return value

    def bind(self, pipeline: Pipeline, values: tuple[object, ...]) -> None:
        for name, value in zip(pipeline.variables, values, strict=True):
            if pipeline.declares:
                self.variables.append((name, value))
            else:
                self.variables[self.place(name)] = (name, value)

    def place(self, name: str) -> int:
        return max(place for place, (known, _) in enumerate(self.variables) if known == name)

    def command(self, command: Command, dot: object, final: tuple[object, ...]) -> object:
        first, *operands = command.operands
        if isinstance(first, Function):
            return self.call(command, first.source, operands, dot, final)
        if isinstance(first, Fields) and (operands or final):
            return self.invoke(first, operands, dot, final)
        if operands or final:
            raise self.error(first, f"can't give argument to non-function {first.source}")
        if first.source == "nil":
            raise self.error(first, "nil is not a command")
        return self.evaluate(first, dot)

    def invoke(self, method: Fields, operands: list[Node], dot: object, final: tuple[object, ...]) -> object:
        name = method.names[-1]
        if name not in self.methods or len(method.names) > 1 or self.evaluate(method.base, dot) is not self.root:
            raise self.error(method, f"{name} has arguments but cannot be invoked as function")
        values = [*(self.evaluate(operand, dot) for operand in operands), *final]
        if len(values) != 1:
            raise self.error(method, f"wrong number of args for {name}: want 1 got {len(values)}")
        if not isinstance(values[0], str):
            raise self.error(method, f"wrong type for value; expected string; got {go_type(values[0])}")
        return self.methods[name](values[0])

    def evaluate(self, node: Node, dot: object) -> object:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Dot):
            return dot
        if isinstance(node, Variable):
            return self.variables[self.place(node.name)][1]
        if isinstance(node, Pipeline):
            return self.pipeline(node, dot)
        if isinstance(node, Fields):
            return self.fields(node, self.evaluate(node.base, dot))
        return self.call(node, node.source, [], dot, ())

    def fields(self, node: Fields, value: object) -> object:
        for place, name in enumerate(node.names):
            if value is NIL:
                raise self.error(node, f'map has no entry for key "{node.names[place - 1]}"')
            value = self.field(node, value, name)
        return value

    def field(self, node: Node, value: object, name: str) -> object:
        if isinstance(value, NoValue):
            return NO_VALUE
        if value is None:
            raise self.error(node, f"nil pointer evaluating interface {{}}.{name}")
        if isinstance(value, Mapping):
            if self.strict and name not in value:
                raise self.error(node, f'map has no entry for key "{name}"')
            return value.get(name, NO_VALUE)
        fields = struct_fields(value) if isinstance(value, msgspec.Struct) else {}
        name = self.names_in_go(fields).get(name, name) if name not in fields else name
        if name not in fields and self.strict:
            raise self.error(node, f'map has no entry for key "{name}"')
        if name not in fields:
            raise self.error(node, f"can't evaluate field {name} in type {go_type(value)}")
        return fields[name]

    @staticmethod
    def names_in_go(fields: Mapping[str, object]) -> Mapping[str, str]:
        """What Docker's API writes in lower case has other names in its programs: ``ID`` for ``id`` or ``Id``."""
        return {"ID" if name in ("id", "Id") else name[:1].upper() + name[1:]: name for name in fields}

    def call(self, node: Node, name: str, operands: list[Node], dot: object, final: tuple[object, ...]) -> object:
        function = self.functions[name]
        count = len(operands) + len(final)
        if count < function.least or (function.most is not None and count > function.most):
            least = f"at least {function.least}" if function.most is None else str(function.least)
            raise self.error(Function(node.at, name), f"wrong number of args for {name}: want {least} got {count}")
        if name in ("and", "or"):
            return self.shortcut(name, operands, dot, final)
        values = [*(self.evaluate(operand, dot) for operand in operands), *final]
        try:
            return function.call(*(_seen(value, name) for value in values))
        except (ValueError, TypeError, OverflowError) as error:
            raise self.error(node, f"error calling {name}: {error}") from error

    def shortcut(self, name: str, operands: list[Node], dot: object, final: tuple[object, ...]) -> object:
        """``and`` ends at the first false argument, ``or`` at the first true one; the rest is not evaluated."""
        value: object = None
        for operand in operands:
            value = self.evaluate(operand, dot)
            if truth(value) == (name == "or"):
                return value
        return final[0] if final else value

    def error(self, node: Node, message: str) -> TemplateError:
        line = self.text.count("\n", 0, node.at) + 1
        column = node.at - (self.text.rfind("\n", 0, node.at) + 1)
        place = f':{line}:{column}: executing "" at <{node.source}>'
        return TemplateError(f"{place}: {message}")


def _seen(value: object, function: str) -> object:
    """What a function sees of a value: of an empty one nothing but its type, which JSON has not."""
    if not isinstance(value, NoValue):
        return value
    return None if function == "json" else value.seen
