"""Docker's restart policies: whether a container that has ended is started again, and when."""

from __future__ import annotations

from kernel_sandbox.spec.options import RestartPolicy

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 60.0
_LONG_RUN = 10.0


def is_due(policy: RestartPolicy, exit_code: int, restarts: int) -> bool:
    """Whether a container that nobody stopped, and that was restarted so often already, starts again."""
    match policy.name:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            return exit_code != 0 and (not policy.maximum_retries or restarts < policy.maximum_retries)
        case _:
            return False


def delay(previous: float, ran: float) -> float:
    """Seconds until the next start: twice the *previous* delay, the first again after a run of some length."""
    if not previous or ran >= _LONG_RUN:
        return _FIRST_DELAY
    return min(2 * previous, _LONGEST_DELAY)
