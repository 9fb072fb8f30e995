import signal
import time

from magics.interrupts import Escalation, escalating


def test_signals_follow_one_another_until_the_container_ends() -> None:
    sent: list[int] = []
    escalation = Escalation(sent.append, patience=0.02)
    escalation.advance()
    assert sent == [signal.SIGINT]
    time.sleep(0.3)
    assert sent == [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


def test_each_interrupt_sends_the_next_signal_at_once() -> None:
    sent: list[int] = []
    with escalating(sent.append) as escalation:
        assert not escalation.has_begun
        for _ in range(4):
            signal.raise_signal(signal.SIGINT)
    assert sent == [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    assert escalation.has_begun


def test_afterwards_nothing_is_sent_and_the_handler_is_the_old_one() -> None:
    sent: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    with escalating(sent.append) as escalation:
        escalation.advance()
    escalation.advance()
    assert sent == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before
