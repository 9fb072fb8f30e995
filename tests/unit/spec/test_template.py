"""Go templates as Docker's users write them; outputs and messages were compared with Docker's own."""

import msgspec
import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import template
from kernel_sandbox.spec.image import Healthcheck


class Mount(msgspec.Struct, frozen=True, rename="pascal"):
    source: str
    read_only: bool = False


class Box(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    mounts: tuple[Mount, ...] = ()
    labels: dict[str, str] = {}
    size: int = 0
    state: dict[str, object] = {}


BOX = Box("web", (Mount("/a"), Mount("/b", True)), {"b": "2", "a": "1"}, 7, {"Pid": 12, "Error": None})


def render(text: str, value: object = BOX, strict: bool = False) -> str:
    return template.compile(text).render(value, strict)


def message(text: str, value: object = BOX, strict: bool = False) -> str:
    with pytest.raises(UsageError) as caught:
        render(text, value, strict)
    assert caught.value.exit_code == 1
    return str(caught.value).removeprefix("template parsing error: template: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain } text", "plain } text"),
        ("{{.Name}}", "web"),
        ("{{ .Name }}:{{.Size}}", "web:7"),
        ("{{.State.Pid}} {{.State.Error}} {{.State.Nope}} {{.State.Nope.X}}", "12 <no value> <no value> <no value>"),
        ("{{.Labels}} {{.Labels.a}} {{.Labels.x}}", "map[a:1 b:2] 1 <no value>"),
        ('{{index .Labels "a"}}|{{index .Labels "x"}}|', "1||"),
        ("{{.Mounts}}", "[{/a false} {/b true}]"),
        ("{{json .Mounts}}", '[{"Source":"/a","ReadOnly":false},{"Source":"/b","ReadOnly":true}]'),
        ("{{json .Labels}}", '{"a":"1","b":"2"}'),
        ('{{json "<&>"}}{{json .State.Nope}}', '"<&>"null'),
        ("{{range .Mounts}}{{.Source}},{{end}}", "/a,/b,"),
        ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}} {{$.Name}};{{end}}", "0=/a web;1=/b web;"),
        ("{{range $k, $v := .Labels}}{{$k}}{{$v}}{{end}}", "a1b2"),
        ("{{range .State.Error}}x{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{with .State.Pid}}<{{.}}>{{else}}no{{end}}", "<12>"),
        ("{{with .State.Error}}x{{else with .Name}}{{.}}{{else}}y{{end}}", "web"),
        ("{{if .State.Error}}a{{else if eq .Size 7}}b{{else}}c{{end}}", "b"),
        ('{{if and .Name (gt .Size 3) (not (eq .Name "db"))}}yes{{end}}', "yes"),
        ("{{or .State.Error .Name}} {{and .State.Error .State.Error.Deep}}", "web <no value>"),
        ('a {{- "b" -}} c {{- /* gone */ -}} d {{/* gone */}} e', "abcd  e"),
        ("{{-3}} {{- 3}}", "-33"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{$x := 3}}{{$x}}{{end}}{{$x}}", "32"),
        ('{{(index .Mounts 1).Source}} {{index .Mounts 0 | printf "%v"}}', "/b {/a false}"),
        ('{{slice "abcdef" 1 3}} {{index "abc" 1}} {{len "é"}} {{len .Mounts}}', "bc 98 2 2"),
        ('{{print 1 2 "a" "b" 3 4 true}}|{{println 1 "a"}}', "1 2ab3 4 true|1 a\n"),
        ('{{printf "%5d|%-5s|%05d|%x|%q" 3 "a" -5 255 "a\\n"}}', '    3|a    |-0005|ff|"a\\n"'),
        ('{{printf "%.2s|%T|%t|%%|%05s" "xyz" 1.5 true "ab"}}', "xy|float64|true|%|000ab"),
        ('{{printf "%d" "a"}} {{printf "%d"}} {{printf "x" 1}}', "%!d(string=a) %!d(MISSING) x%!(EXTRA int=1)"),
        ('{{printf "%v %v %v" 1e6 123456789.0 0.1}}', "1e+06 1.23456789e+08 0.1"),
        ("{{0x10}} {{0b11}} {{017}} {{1_000}} {{1e3}} {{'a'}}", "16 3 15 1000 1000 97"),
        ('{{upper "aé"}} {{lower "AB"}} {{title "hello big-world"}}', "AÉ ab Hello Big-World"),
        ('{{join (split "a,b" ",") "+"}} {{truncate "abcdef" 3}} [{{pad "x" 2 1}}]', "a+b abc [  x ]"),
        ('{{"\\x41\\u00e9\\101\\t"}}{{`\\n`}}', "AéA\t\\n"),
        ("{{eq 1 2 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{ge 1 2}} {{eq nil nil}}", "true true true true false true"),
        ('{{html "<a>" 1}} {{js "<\\"" }} {{urlquery "a b&"}}', '&lt;a&gt;1 \\u003C\\" a+b%26'),
        ('{{truncate "éé" 3}}', "é\ufffd"),
        ("{{range 5}}{{if eq . 1}}{{continue}}{{end}}{{if eq . 3}}{{break}}{{end}}{{.}}{{end}}.", "02."),
        ('{{if 0}}a{{end}}{{if ""}}b{{end}}{{if .Mounts}}c{{end}}{{if .State}}d{{end}}', "cd"),
    ],
)  # fmt: skip
def test_what_a_template_prints(text: str, expected: str) -> None:
    assert render(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{.Name", ":1: unclosed action"),
        ("\n{{foo}}", ':2: function "foo" not defined'),
        ("{{}}", ":1: missing value for command"),
        ("{{if}}{{end}}", ":1: missing value for if"),
        ("{{end}}", ":1: unexpected {{end}}"),
        ("{{if .Name}}", ":1: unexpected EOF"),
        ("{{if .Name}}a{{else}}b{{else}}c{{end}}", ":1: expected end; found {{else}}"),
        ('{{"abc}}', ":1: unterminated quoted string"),
        ("{{$x}}", ':1: undefined variable "$x"'),
        ("{{/* x}}", ":1: unclosed comment"),
        ("{{/* x */ }}", ":1: comment ends before closing delimiter"),
        ("{{(.Name}}", ":1: unclosed left paren"),
        ("{{.Name)}}", ":1: unexpected right paren"),
        ("{{3abc}}", ':1: bad number syntax: "3a"'),
        ("{{1|2}}", ":1: non executable command in pipeline stage 2"),
        ("{{.Name.}}", ":1: unexpected <.> in operand"),
        ('{{"\\q"}}', ':1: bad constant syntax: "\\q"'),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        ("{{99999999999999999999}}", ':1: integer overflow: "99999999999999999999"'),
        ("{{" + "(" * 5000 + "}}", ":1: nested too deeply"),
    ],
)
def test_a_template_written_wrongly(text: str, expected: str) -> None:
    assert message(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{.Nope}}", ':1:2: executing "" at <.Nope>: can\'t evaluate field Nope in type Box'),
        ("ab\n {{.Name.B}}", ':2:8: executing "" at <.Name.B>: can\'t evaluate field B in type string'),
        (
            "{{.State.Error.X}}",
            ':1:8: executing "" at <.State.Error.X>: nil pointer evaluating interface {}.X',
        ),
        ("{{range .Name}}{{end}}", ':1:8: executing "" at <.Name>: range can\'t iterate over web'),
        (
            '{{index "abc" 7}}',
            ':1:2: executing "" at <index "abc" 7>: error calling index: index out of range: 7',
        ),
        ("{{len 3}}", ':1:2: executing "" at <len 3>: error calling len: len of type int'),
        (
            '{{eq 1 "a"}}',
            ':1:2: executing "" at <eq 1 "a">: error calling eq: incompatible types for comparison',
        ),
        ("{{upper}}", ':1:2: executing "" at <upper>: wrong number of args for upper: want 1 got 0'),
        ("{{1 2}}", ':1:2: executing "" at <1>: can\'t give argument to non-function 1'),
        (
            "{{.Name 2}}",
            ':1:2: executing "" at <.Name>: Name has arguments but cannot be invoked as function',
        ),
        ("{{nil}}", ':1:2: executing "" at <nil>: nil is not a command'),
    ],
)
def test_a_template_that_does_not_fit(text: str, expected: str) -> None:
    assert message(text) == expected


def test_a_length_of_time_prints_as_one_and_counts_in_nanoseconds() -> None:
    check = Healthcheck(test=("CMD", "x"), interval=90 * 10**9)
    assert render("{{.Interval}} {{.}} {{json .Interval}} {{.Retries}}", check) == (
        "1m30s {[CMD x] 1m30s 0s 0s 0s 0} 90000000000 0"
    )
    assert render('{{eq .Interval 90000000000}} {{printf "%d" .Timeout}}', check) == "true 0"


def test_strict_refuses_a_key_that_a_map_does_not_have() -> None:
    assert message("{{.Foo}}", {"Bar": 1}, strict=True) == (
        ':1:2: executing "" at <.Foo>: map has no entry for key "Foo"'
    )


def test_dunder_attributes_are_out_of_reach() -> None:
    for text in ("{{.__class__}}", "{{.name}}", "{{.Name.upper}}"):
        assert "can't evaluate field" in message(text)


def test_output_without_bounds_is_an_error() -> None:
    text = "{{range 10000}}{{range 10000}}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{{end}}{{end}}"
    assert "too long" in message(text)
