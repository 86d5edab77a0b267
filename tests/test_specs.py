from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqabench.errors import SpecError
from iqabench.specs import Argument, Part, format_part, parse

KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.one_of(
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(float),
    st.text(
        st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), max_size=12
    ).filter(lambda text: not ("'" in text and '"' in text)),
)


def test_a_chain_is_read_outermost_first() -> None:
    parts = parse("jpeg:q=50+at:eps_255=2,steps=1+cprl:b=0.3")
    assert [part.name for part in parts] == ["jpeg", "at", "cprl"]
    assert parts[1].arguments == (Argument("eps_255", "2"), Argument("steps", "1"))


def test_only_the_first_colon_splits_and_the_first_argument_may_be_positional() -> None:
    [part] = parse("module:pkg.mod:Class,device=cpu")
    assert part == Part("module", (Argument(None, "pkg.mod:Class"), Argument("device", "cpu")))


def test_a_distribution_can_be_named() -> None:
    assert parse("acme-iqa/fgsm:steps=2")[0].name == "acme-iqa/fgsm"


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_protect_commas_and_plus_signs(quote: str) -> None:
    [part] = parse(f"module:{quote}a,b+c{quote},path={quote}x=1{quote}")
    assert [a.value for a in part.arguments] == ["a,b+c", "x=1"]
    assert all(a.quoted for a in part.arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a name is missing"),
        ("fgsm+", "a name is missing"),
        (":steps=1", "a name is missing"),
        ("fg sm", "is not a component name"),
        ("pgd:", "a value is missing"),
        ("pgd:steps=", "a value is missing"),
        ("pgd:steps=1,,eps=2", "a value is missing"),
        ("pgd:steps=1,steps=2", "'steps' is given twice"),
        ("pgd:steps=1,10", "'10' needs a key"),
        ("pgd:name='open", "is not closed"),
        ("pgd:name='a'b", "do not match"),
    ],
)
def test_a_bad_string_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(text)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_what_is_formatted_reads_back_equal(parameters: dict[str, object]) -> None:
    [part] = parse(format_part("name", parameters))
    read = {a.key: a.value for a in part.arguments}
    assert list(read) == sorted(parameters)
    for key, value in parameters.items():
        assert read[key] == str(value) or float(read[key]) == float(str(value))


@given(st.text(max_size=30))
def test_any_text_gives_parts_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        assert all(part.name for part in parse(text))


@given(VALUES, st.dictionaries(KEYS.filter(lambda key: key != "first"), VALUES, max_size=2))
def test_a_leading_value_reads_back_without_its_key(value: object, rest: dict[str, object]) -> None:
    [part] = parse(format_part("name", {**rest, "first": value}, "first"))
    first, *others = part.arguments
    assert first.key in (None, "first")
    assert first.value == str(value) or float(first.value) == float(str(value))
    assert [a.key for a in others] == sorted(rest)
