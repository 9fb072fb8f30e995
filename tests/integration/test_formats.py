"""``--format``: Docker's templates over tables and documents."""

import json

import pytest

pytestmark = pytest.mark.same_for_every_user


def test_ps_shows_what_a_template_names(cli, name):
    cli("create", "--name", name, "-l", "colour=red", "busybox", "true")
    line = cli("ps", "-a", "--format", '{{.Names}} {{.State}} {{.Label "colour"}} {{.Command}}').stdout.splitlines()
    assert f'{name} created red "true"' in line


def test_a_table_of_a_template_has_dockers_heads(cli, name):
    cli("create", "--name", name, "busybox", "true")
    head, *rows = cli("ps", "-a", "--format", r"table {{.Names}}\t{{.Image}}").stdout.splitlines()
    assert head.split() == ["NAMES", "IMAGE"]
    assert [name, "busybox"] in [row.split() for row in rows]


def test_json_is_an_object_a_line(cli):
    rows = [json.loads(line) for line in cli("images", "--format", "json").stdout.splitlines()]
    assert ("busybox", "latest") in [(row["Repository"], row["Tag"]) for row in rows]


def test_inspect_renders_a_document(cli, name):
    cli("create", "--name", name, "-m", "64m", "busybox", "true")
    shown = cli("inspect", "-f", "{{.Name}} {{.HostConfig.Memory}} {{json .State.Status}}", name).stdout
    assert shown == f'/{name} 67108864 "created"\n'


def test_a_template_that_does_not_fit_is_one_line(cli, name):
    cli("create", "--name", name, "busybox", "true")
    refused = cli("ps", "-a", "--format", "{{.NoSuchField}}")
    assert refused.returncode == 1
    assert "NoSuchField" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert cli("inspect", "-f", "{{.Name", name).returncode == 64
