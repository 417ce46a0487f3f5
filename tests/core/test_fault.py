"""What the log may say of an error."""

from __future__ import annotations

from core.fault import place


def _fail() -> None:
    raise KeyError("secret.example")


def test_type_and_place_without_the_text() -> None:
    try:
        _fail()
    except KeyError as error:
        said = place(error)
    assert said.startswith("KeyError at test_fault.py:")
    assert "secret" not in said


def test_an_error_that_was_never_raised() -> None:
    assert place(ValueError("secret.example")) == "ValueError"
