"""What a cell shows of a result, and what an assignment gets."""

import pytest
from IPython.testing.globalipapp import start_ipython
from IPython.utils.capture import capture_output

from kernel_sandbox.commands.results import Lines, Live, Table
from kernel_sandbox.errors import SandboxError
from magics.delivery import Delivery


def live():
    return Live(iter((Table(("NAME",), (("first",),), (1,)), Lines(("second",)))))


def test_what_changes_is_one_output_that_is_updated():
    start_ipython()
    with capture_output() as captured:
        value, status = Delivery(0, keep=False).deliver(live())
    assert (value, status) == (None, 0)
    first, second = captured.outputs
    assert "<td" in first.data["text/html"]
    assert second.data["text/plain"] == "second"
    assert (first.update, second.update) == (False, True)
    assert first.transient == second.transient


def test_an_assignment_gets_the_first_of_what_changes():
    rows, _ = Delivery(0, keep=True).deliver(live())
    assert rows[0]["NAME"] == "first"


def test_a_warning_is_told_and_a_failure_raised(capsys):
    warning, failure = SandboxError("did you mean image rm?"), SandboxError("no such thing")
    warning.exit_code = 0
    assert Delivery(0, keep=False).deliver(Lines(("done",), errors=(warning,))) == (None, 0)
    assert capsys.readouterr() == ("done\n", "did you mean image rm?\n")
    with pytest.raises(SandboxError, match="no such thing"):
        Delivery(0, keep=False).deliver(Lines(errors=(warning, failure)))
