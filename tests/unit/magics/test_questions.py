"""Questions in a notebook: asked where the front end has an input field, refused with a way out where it has none."""

import builtins
import getpass

import pytest
from IPython.core.error import StdinNotImplementedError

from kernel_sandbox.errors import UsageError
from magics.questions import ask


def test_a_secret_is_asked_for_as_one(monkeypatch):
    monkeypatch.setattr(builtins, "input", lambda question: f"shown {question}")
    monkeypatch.setattr(getpass, "getpass", lambda question: f"hidden {question}")
    assert ask("Username: ", False) == "shown Username: "
    assert ask("Password: ", True) == "hidden Password: "


@pytest.mark.parametrize("error", [StdinNotImplementedError, EOFError])
def test_where_nobody_can_be_asked_the_cells_body_is_the_way(monkeypatch, error):
    def refuse(question):
        raise error

    monkeypatch.setattr(getpass, "getpass", refuse)
    with pytest.raises(UsageError, match="--password-stdin"):
        ask("Password: ", True)
