"""For tests that look at a clock, or hold one reading of this machine against another, while it does other things."""

import functools
from collections.abc import Callable
from typing import ParamSpec

__all__ = ["ATTEMPTS", "some_attempts"]

ATTEMPTS = 4

P = ParamSpec("P")


def some_attempts(test: Callable[P, None]) -> Callable[P, None]:
    """Have a test begin anew when it fails, some times: a busy machine is in the way now and then, a mistake always is.

    The fixtures of a test are made once, so what an attempt changes it has to make itself.
    """

    @functools.wraps(test)
    def attempt(*arguments: P.args, **named: P.kwargs) -> None:
        for _ in range(ATTEMPTS - 1):
            try:
                return test(*arguments, **named)
            except AssertionError:
                continue
        return test(*arguments, **named)

    return attempt
