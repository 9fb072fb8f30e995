"""How `--format` templates are written: tokens, the tree of a template, and the parser between them.

The grammar is that of Go's package text/template, without methods, ``define``, ``template`` and ``block``; messages are
Go's, behind the words "template parsing error" as Docker shows them.
What a tree means is in `kernel_sandbox.spec.template`.

    template = { text | "{{" ( pipeline | control | "break" | "continue" ) "}}" }
    control  = ("if" | "range" | "with") pipeline "}}" template "{{" [ "else" … ] "end"
    pipeline = [ $name { "," $name } (":=" | "=") ] command { "|" command }
    command  = operand { operand }
    operand  = ( "." | .field | $name | constant | function | "(" pipeline ")" ) { .field }
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.template_functions import FUNCTIONS
from kernel_sandbox.spec.template_values import number, quote, unquote


class TemplateError(UsageError):
    """The template is written wrongly or does not fit the value: mend the part that the message names."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        """``message`` may quote the template or a value: line breaks in it become blanks."""
        super().__init__(" ".join(f"template parsing error: template: {message}".splitlines()))


class Token(NamedTuple):
    """A piece of the template: its kind (a group of ``_TOKEN``, or text, left, right, end), text and offset."""

    kind: str
    text: str
    at: int


_OPENING = re.compile(r"\{\{(-(?=\s))?")
_COMMENT = re.compile(r"/\*.*?\*/(\s-)?\}\}", re.DOTALL)
_CLOSING = re.compile(r"(\s+-)?\}\}")
_TOKEN = re.compile(
    r"""
      (?P<space>   \s+ )
    | (?P<string>  "(?:[^"\\\n]|\\.)*" | `[^`]*` )
    | (?P<char>    '(?:[^'\\\n]|\\.[0-9a-fA-F]*)' )
    | (?P<number>  [+-]?(?: 0[xX][\da-fA-F_]+ | 0[bB][01_]+ | 0[oO][0-7_]+
                          | (?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)? ) )
    | (?P<declare> := ) | (?P<assign> = ) | (?P<pipe> \| ) | (?P<comma> , )
    | (?P<open>    \( ) | (?P<close>  \) )
    | (?P<field>   \.[^\W\d]\w* ) | (?P<dot> \. ) | (?P<variable> \$\w* ) | (?P<word> [^\W\d]\w* )
    """,
    re.VERBOSE | re.DOTALL,
)
_JUMPS = frozenset(("break", "continue"))
_KEYWORDS = frozenset(("if", "range", "with", "else", "end")) | _JUMPS
_UNCLOSED = {
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression: where it starts, and how it is written, for messages."""

    at: int
    source: str


@dataclass(frozen=True, slots=True)
class Literal(Node):
    value: object


@dataclass(frozen=True, slots=True)
class Function(Node):
    pass


@dataclass(frozen=True, slots=True)
class Variable(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Dot(Node):
    pass


@dataclass(frozen=True, slots=True)
class Fields(Node):
    """``.A.B`` of what *base* is."""

    base: Node
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command(Node):
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pipeline(Node):
    """Commands, each the last argument of the next; its value is bound to ``variables``, new if ``declares``."""

    variables: tuple[str, ...]
    declares: bool
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """``if``, ``range`` or ``with``."""

    keyword: str
    pipeline: Pipeline
    body: "Statements"
    otherwise: "Statements"


@dataclass(frozen=True, slots=True)
class Jump:
    """``break`` or ``continue``."""

    keyword: str


Statements = tuple[str | Pipeline | Control | Jump, ...]


def tokens(text: str) -> Iterator[Token]:
    position = 0
    while opening := _OPENING.search(text, position):
        plain = text[position : opening.start()]
        yield Token("text", plain.rstrip() if opening[1] else plain, position)
        if comment := _comment(text, opening):
            position = _after(text, comment)
            continue
        yield Token("left", "{{", opening.start())
        position = opening.end()
        while not (closing := _CLOSING.match(text, position)):
            token = _token(text, position)
            position += len(token.text)
            yield token
        yield Token("right", "}}", closing.start())
        position = _after(text, closing)
    yield Token("text", text[position:], position)
    yield Token("end", "EOF", len(text))


def _after(text: str, closing: re.Match[str]) -> int:
    """Where the text goes on after a closing delimiter."""
    if not closing[1]:
        return closing.end()
    return len(text) - len(text[closing.end() :].lstrip())


def _comment(text: str, opening: re.Match[str]) -> re.Match[str] | None:
    start = opening.end() + (1 if opening[1] else 0)
    comment = _COMMENT.match(text, start)
    if comment is None and text.startswith("/*", start):
        closed = "*/" in text[start:]
        raise _error(text, opening.start(), "comment ends before closing delimiter" if closed else "unclosed comment")
    return comment


def _token(text: str, position: int) -> Token:
    if position == len(text):
        raise _error(text, position, "unclosed action")
    found = _TOKEN.match(text, position)
    if found is None:
        character = text[position]
        name = f"U+{ord(character):04X} '{character}'"
        raise _error(text, position, _UNCLOSED.get(character, f"unrecognized character in action: {name}"))
    if found.lastgroup == "number" and re.match(r"\w", text[found.end() :]):
        raise _error(text, position, f'bad number syntax: "{found[0]}{text[found.end()]}"')
    return Token(found.lastgroup or "", found[0], position)


def _error(text: str, at: int, message: str) -> TemplateError:
    line = text.count("\n", 0, at) + 1
    return TemplateError(f":{line}: {message}")


class Parser:
    """Recursive descent; every method leaves the position after what it returns."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tuple(token for token in tokens(text) if token.kind != "space")
        self.position = 0
        self.variables = ["$"]
        self.ranges = 0

    def parse(self) -> Statements:
        statements, end = self.statements()
        if end.kind != "end":
            raise self.error(end, f"unexpected {{{{{end.text}}}}}")
        return statements

    def statements(self) -> tuple[Statements, Token]:
        """Everything up to the template's end, ``{{end}}`` or ``{{else``; and that token."""
        found: list[str | Pipeline | Control | Jump] = []
        while (token := self.next()).kind != "end":
            if token.kind == "text":
                found.append(token.text)
                continue
            keyword = self.peek()
            if keyword.text in ("else", "end"):
                return tuple(found), self.next()
            found.append(self.control() if keyword.text in _KEYWORDS else self.pipeline("right"))
        return tuple(found), token

    def control(self) -> Control | Jump:
        start = self.next()
        keyword = start.text
        if keyword in _JUMPS:
            if not self.ranges:
                raise self.error(start, f"{{{{{keyword}}}}} outside {{{{range}}}}")
            self.expect("right", keyword)
            return Jump(keyword)
        scope = len(self.variables)
        pipeline = self.pipeline("right", keyword)
        self.ranges += keyword == "range"
        body, end = self.statements()
        self.ranges -= keyword == "range"
        otherwise = self.otherwise(keyword, end)
        del self.variables[scope:]
        return Control(keyword, pipeline, body, otherwise)

    def otherwise(self, keyword: str, end: Token) -> Statements:
        if end.kind == "end":
            raise self.error(end, "unexpected EOF")
        if end.text == "end":
            self.expect("right", "end")
            return ()
        if self.peek().text == keyword and keyword != "range":
            return (self.control(),)
        self.expect("right", "else")
        statements, end = self.statements()
        if end.text == "else":
            raise self.error(end, "expected end; found {{else}}")
        return statements + self.otherwise(keyword, end)

    def pipeline(self, end: str, context: str = "command") -> Pipeline:
        start = self.peek()
        names, declares = self.declaration(context == "range")
        commands = [self.command(context)]
        while self.peek().kind == "pipe":
            self.next()
            commands.append(self.command(context))
            if not isinstance(commands[-1].operands[0], Function | Fields | Variable):
                raise self.error(self.peek(), f"non executable command in pipeline stage {len(commands)}")
        source = self.text[start.at : self.end_of_last()]
        self.expect(end, context)
        if declares:
            self.variables.extend(names)
        return Pipeline(start.at, source, names, declares, tuple(commands))

    def declaration(self, ranges: bool) -> tuple[tuple[str, ...], bool]:
        names = [self.peek().text]
        ahead = 1
        if ranges and [self.peek(1).kind, self.peek(2).kind] == ["comma", "variable"]:
            names.append(self.peek(2).text)
            ahead = 3
        if self.peek().kind != "variable" or self.peek(ahead).kind not in ("declare", "assign"):
            return (), False
        declares = self.peek(ahead).kind == "declare"
        for _ in range(ahead + 1):
            token = self.next()
            if token.kind == "variable" and not declares:
                self.known(token)
        return tuple(names), declares

    def command(self, context: str) -> Command:
        start = self.peek()
        operands = []
        while self.peek().kind not in ("pipe", "right", "close"):
            operands.append(self.operand())
        if not operands:
            raise self.error(start, f"missing value for {context}")
        return Command(start.at, self.text[start.at : self.end_of_last()], tuple(operands))

    def operand(self) -> Node:
        start = self.next()
        fields = [start] if start.kind == "field" else []
        base = Dot(start.at, ".") if fields else self.term(start)
        while self.peek().kind == "field" and self.adjoins():
            fields.append(self.next())
        if self.peek().kind == "dot" and self.adjoins():
            raise self.error(start, "unexpected <.> in operand")
        if not fields:
            return base
        if start.kind not in ("field", "variable", "open"):
            raise self.error(start, f"unexpected . after term {quote(start.text)}")
        names = tuple(field.text[1:] for field in fields)
        at = fields[1 if start.kind == "field" and len(fields) > 1 else 0].at
        return Fields(at, self.text[start.at : self.end_of_last()], base, names)

    def term(self, token: Token) -> Node:
        if token.kind == "open":
            return self.pipeline("close")
        if token.kind == "variable":
            return Variable(token.at, token.text, self.known(token))
        if token.kind == "dot":
            return Dot(token.at, ".")
        if token.kind == "word":
            return self.word(token)
        if token.kind in ("string", "char", "number"):
            return Literal(token.at, token.text, self.constant(token))
        if token.kind == "close":
            raise self.error(token, "unexpected right paren")
        raise self.error(token, f"unexpected {quote(token.text)} in operand")

    def word(self, token: Token) -> Node:
        constants: dict[str, object] = {"true": True, "false": False, "nil": None}
        if token.text in constants:
            return Literal(token.at, token.text, constants[token.text])
        if token.text in _KEYWORDS:
            raise self.error(token, f"unexpected <{token.text}> in operand")
        if token.text not in FUNCTIONS:
            raise self.error(token, f"function {quote(token.text)} not defined")
        return Function(token.at, token.text)

    def constant(self, token: Token) -> object:
        if token.text.startswith("`"):
            return token.text[1:-1]
        try:
            if token.kind == "number":
                return number(token.text)
            text = unquote(token.text[1:-1])
            return ord(text) if token.kind == "char" else text
        except OverflowError as error:
            raise self.error(token, f"integer overflow: {quote(token.text)}") from error
        except (ValueError, TypeError) as error:
            raise self.error(token, f"bad constant syntax: {token.text}") from error

    def known(self, token: Token) -> str:
        if token.text not in self.variables:
            raise self.error(token, f"undefined variable {quote(token.text)}")
        return token.text

    def adjoins(self) -> bool:
        """Whether no space is before the next token."""
        return self.end_of_last() == self.peek().at

    def end_of_last(self) -> int:
        last = self.tokens[self.position - 1]
        return last.at + len(last.text)

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        token = self.peek()
        self.position += 1
        return token

    def expect(self, kind: str, context: str) -> None:
        token = self.next()
        if token.kind == kind:
            return
        if kind == "close":
            raise self.error(token, "unclosed left paren")
        if token.kind == "close":
            raise self.error(token, "unexpected right paren")
        raise self.error(token, f"unexpected <{token.text}> in {context}")

    def error(self, token: Token, message: str) -> TemplateError:
        return _error(self.text, token.at, message)
