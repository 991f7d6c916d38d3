"""Warnings in a companion: those of calls obey this session's filters, those of cells are shown once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
from there import There, there_with
from waiting import until

from isolate_magic import Companion

SOURCE = """
import warnings
class Mine(UserWarning): pass
def old(text="old"):
    warnings.warn(text, DeprecationWarning)
    return 1
def loud(category=UserWarning): warnings.warn("loud", category); return 2
def careful():
    try: return loud()
    except UserWarning as error: return "caught " + str(error)
def many(n):
    for _ in range(n): loud()
    return n
"""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with there_with("warnings", SOURCE) as made:
        yield made


def test_a_warning_of_a_call_is_given_here_every_time(there: There) -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match="loud") as caught:
            assert there.loud() == 2
        assert "in companion 'warnings'" in caught[0].filename
    with pytest.warns(DeprecationWarning, match="old"):
        there.old()


def test_filters_of_this_session_decide(there: There, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert there.loud() == 2
    assert capfd.readouterr() == ("", "")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=there.Mine)
        assert there.loud(there.Mine) == 2


def test_a_warning_that_is_an_error_here_is_raised_where_it_was_given(there: There) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="loud"):
            there.loud()
        assert there.careful() == "caught loud"


def test_filters_of_a_cell_come_first(there: There) -> None:
    there("warnings.filterwarnings('ignore', message='quiet please')")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert there.old("quiet please") == 1


def test_a_loop_of_warnings_does_not_call_back_for_ever(there: There) -> None:
    with pytest.warns(UserWarning, match="loud") as caught:
        assert there("lambda: many(5000)")() == 5000
    assert len(caught) <= 200


def test_a_warning_of_a_cell_is_shown_once_and_a_deprecation_only_of_the_cell_itself(there: There) -> None:
    there("for _ in range(3): warnings.warn('look here')")
    there("warnings.warn('my own', DeprecationWarning)")
    there(
        "import types; m = types.ModuleType('m'); exec(compile('import warnings; warnings.warn(\"theirs\", DeprecationWarning)', 'm.py', 'exec'), vars(m))"
    )
    until(lambda: "my own" in there.companion.logs())
    logs = there.companion.logs()
    assert logs.count("UserWarning: look here") == 1
    assert "theirs" not in logs


@pytest.mark.parametrize("category", ["ResourceWarning", "PendingDeprecationWarning", "ImportWarning"])
def test_what_no_kernel_shows_is_not_shown(companion: Companion, category: str) -> None:
    companion.run(f"import warnings; warnings.warn('quiet', {category})")
    companion.run("open('/dev/null').close; x = len(open('/dev/null').read())")
    companion.run("warnings.warn('loud', DeprecationWarning)")
    until(lambda: "loud" in companion.logs())
    assert "quiet" not in companion.logs()
    assert "unclosed" not in companion.logs()


def test_a_category_that_is_none_is_refused() -> None:
    with there_with("warnings-attack") as there, pytest.raises(Exception, match="no category"):
        there("import isolate_magic.link.packing as p; p.here.ask_host('warn', 'x', int, 'f', 1)")


def test_the_users_own_warning_options_stay() -> None:
    options = {"PYTHONWARNINGS": "ignore"}
    with Companion("warnings-options", env=options) as companion, warnings.catch_warnings():
        warnings.simplefilter("error")
        companion.run("import warnings\ndef loud(): warnings.warn('quiet')\nloud")()
