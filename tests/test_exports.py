"""The public names: what `from isolate_magic import ...` offers, and that tools see the same."""

from __future__ import annotations

import isolate_magic


def test_every_public_name_is_there_and_says_it_is_ours() -> None:
    for name in isolate_magic.__all__:
        assert getattr(isolate_magic, name) is not None


def test_the_list_is_sorted_and_is_what_dir_shows() -> None:
    assert isolate_magic.__all__ == sorted(isolate_magic.__all__)
    assert dir(isolate_magic) == isolate_magic.__all__


def test_errors_speak_of_isolate_magic_itself() -> None:
    assert isolate_magic.StaleProxyError.__module__ == "isolate_magic"
    assert issubclass(isolate_magic.CellTimeout, TimeoutError)
    assert issubclass(isolate_magic.TransferError, TypeError)


def test_the_error_tree_in_the_docstring_names_every_error() -> None:
    from isolate_magic import errors

    assert errors.__doc__ is not None
    for name in errors.__all__:
        assert name in errors.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    try:
        isolate_magic.no_such_name  # noqa: B018
    except AttributeError as error:
        assert "no_such_name" in str(error)
    else:
        raise AssertionError("there was such a name")
