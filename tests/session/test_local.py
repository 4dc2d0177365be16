"""What is said of a session before it is entered."""

from __future__ import annotations

import pytest

from libecs.session import local


def test_session_that_was_not_entered_says_what_to_write() -> None:
    with pytest.raises(AttributeError, match=r"no 'environment'; enter it first: `with libecs\.local\(\)"):
        local().environment("demo")
    with pytest.raises(AttributeError, match="not entered has no 'environmnt'$"):
        _ = local().environmnt
