"""Callers: what their file may say, and how it is followed."""

from hashlib import sha256
from pathlib import Path

import pytest

from lockstep.errors import BadSetting
from serving.access import Callers


def hashed(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def table(name: str, *tokens: str, more: str = 'models = ["tiny"]') -> str:
    """A caller as the file says it."""
    return f"[{name}]\nsha256 = {[hashed(token) for token in tokens]}\n{more}\n"


def name_of(callers: Callers, token: str) -> str | None:
    found = callers.of_token(token)
    return None if found is None else found.name


def test_a_token_is_its_callers_and_nobody_elses() -> None:
    callers = Callers(table("bidder", "one") + table("pricing", "two", "three"), None)
    assert [name_of(callers, token) for token in ("one", "two", "three", "four", "", hashed("one"))] == [
        "bidder",
        "pricing",
        "pricing",
        None,
        None,
        None,
    ]


def test_no_token_stands_for_a_caller_without_a_name() -> None:
    assert name_of(Callers(table('""', "one"), None), "two") is None


def test_a_caller_may_use_what_its_table_lists() -> None:
    rights = 'models = ["*"]\nrepository = true'
    callers = Callers(table("bidder", "one") + table("operator", "two", more=rights), None)
    bidder, operator = callers.of_token("one"), callers.of_token("two")
    assert bidder is not None
    assert operator is not None
    assert (bidder.may_use("tiny"), bidder.may_use("tin"), bidder.repository, bidder.reflection) == (
        *(True, False),
        *(False, False),
    )
    assert (operator.may_use("whatever"), operator.repository, operator.reflection) == (True, True, False)


def test_neither_hash_nor_token_stands_in_what_is_printed() -> None:
    assert hashed("one") not in repr(Callers(table("bidder", "one"), None).of_token("one"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[bidder", "no TOML"),
        ("bidder = 1", "a caller is a table"),
        ('[bidder]\nmodels = ["tiny"]', "bidder.sha256"),
        ('[bidder]\nsha256 = "open sesame"\nmodels = ["tiny"]', "64 hexadecimal digits"),
        ('[bidder]\nsha256 = []\nmodels = ["tiny"]', "64 hexadecimal digits"),
        (table("bidder", "one", more="models = 1"), "bidder.models"),
        (table("bidder", "one", more=""), "bidder.models"),
        (table("bidder", "one", more='models = []\nrepository = "yes"'), "true or false"),
        (table("bidder", "one", more="models = []\nreflecton = true"), "Did you mean 'reflection'"),
    ],
)
def test_a_text_that_says_something_else_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BadSetting) as raised:
        Callers(text, None)
    assert problem in str(raised.value)
    assert "open sesame" not in str(raised.value)


def test_a_name_in_both_places_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(table("bidder", "two"))
    with pytest.raises(BadSetting, match="stands in the file and beside it"):
        Callers(table("bidder", "one"), path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="callers_file"):
        Callers("", tmp_path / "absent.toml")


def test_a_file_that_changes_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(table("bidder", "one"))
    callers = Callers("", path)
    path.write_text(table("bidder", "one", "two"))
    callers.refresh()
    assert name_of(callers, "two") == "bidder"
    path.write_text(table("pricing", "two"))
    callers.refresh()
    assert (name_of(callers, "one"), name_of(callers, "two"), callers.named("bidder")) == (None, "pricing", None)


@pytest.mark.parametrize("bad", ["[bidder", None])
def test_a_file_that_became_unusable_changes_nothing(
    tmp_path: Path, bad: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(table("bidder", "one"))
    callers = Callers("", path)
    if bad is None:
        path.unlink()
    else:
        path.write_text(bad)
    callers.refresh()
    assert name_of(callers, "one") == "bidder"
    assert "What was read before stays" in caplog.text
