"""Variables: three layers, who wins, and where a value comes from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.errors import ExpressionError
from libecs.language.expression import Value, compile_text
from libecs.language.variables import Base, LazyTexts, Origin, Stack

_TABLES = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)


def test_layers_beat_depth() -> None:
    base = Base(user={"u": "user"}, vars={"v": "base var", "u": "-"}, defaults={"d": "base default", "v": "-"})
    root = Stack(base).child("w", defaults={"d": "root", "x": "root default"}, vars={"x": "root var"})
    leaf = root.child("w.t", defaults={"d": "leaf", "x": "leaf default", "u": "-"})

    assert {name: leaf.get(name) for name in "uvdx"} == {"u": "user", "v": "base var", "d": "leaf", "x": "root var"}
    assert root.get("d") == "root"
    assert leaf.get("nothing") is None


def test_runtime_values_beat_all_and_the_nearest_wins() -> None:
    root = Stack(Base(user={"x": "user"})).child("w", vars={"x": "var"})
    leaf = root.child("w.t")
    overlay = {"w": {"x": "root", "y": "root"}, "w.t": {"x": "leaf"}, "w.other": {"y": "other"}}

    assert leaf.consolidated(overlay) == {"x": "leaf", "y": "root"}
    assert root.consolidated(overlay) == {"x": "root", "y": "root"}
    assert leaf.runtime({}) == ()


def test_a_role_without_variables_shares_its_parents_tables() -> None:
    root = Stack(Base(user={"x": "1"})).child("w", vars={"y": "2"})

    assert root.child("w.t").tables is root.tables


def test_explain_names_layer_and_role() -> None:
    leaf = Stack(Base(defaults={"x": "1"})).child("w", defaults={"x": "2"}).child("w.t", vars={"x": "3"})

    assert leaf.explain("x", {"w": {"x": "4"}}) == (
        Origin(layer="runtime", role="w", value="4"),
        Origin(layer="vars", role="w.t", value="3"),
        Origin(layer="defaults", role="w", value="2"),
        Origin(layer="defaults", role="", value="1"),
    )


@given(_TABLES, _TABLES, _TABLES, _TABLES, _TABLES, _TABLES, _TABLES, st.sampled_from("abc"))
def test_all_ways_to_a_value_agree(
    user: dict[str, str],
    base_vars: dict[str, str],
    base_defaults: dict[str, str],
    defaults: dict[str, str],
    vars: dict[str, str],
    leaf_defaults: dict[str, str],
    overlay: dict[str, str],
    name: str,
) -> None:
    root = Stack(Base(user=user, vars=base_vars, defaults=base_defaults)).child("w", defaults=defaults, vars=vars)
    leaf = root.child("w.t", defaults=leaf_defaults)
    runtime = {"w": overlay}

    origins = leaf.explain(name, runtime)
    assert leaf.consolidated(runtime).get(name) == (origins[0].value if origins else None)
    assert leaf.get(name) == leaf.consolidated().get(name)


class _Scope:
    """A scope of nothing but lazy texts."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.lazy = LazyTexts({name: compile_text(text, None) for name, text in texts.items()})
        self.looked_up: list[str] = []

    def lookup(self, name: str) -> Value:
        self.looked_up.append(name)
        if name not in self.lazy:
            raise KeyError(name)
        return self.lazy.get(name, self)

    def names(self) -> frozenset[str]:
        return self.lazy.names()

    def call(self, path: tuple[str, ...], args: list[Value]) -> Value:
        raise AssertionError(path, args)

    def spend(self, steps: int) -> None:
        pass


def test_lazy_texts_are_evaluated_once_and_only_if_needed() -> None:
    scope = _Scope({"a": "{{ b }}{{ b }}", "b": "{{ c }}!", "c": "x", "unused": "{{ nowhere }}"})

    assert scope.lookup("a") == "x!x!"
    assert scope.lookup("a") == "x!x!"
    assert scope.looked_up.count("c") == 1


@pytest.mark.parametrize(
    ("texts", "circle"),
    [
        ({"a": "{{ a }}"}, "a -> a"),
        ({"a": "{{ b }}", "b": "{{ c }}", "c": "{{ b }}"}, "b -> c -> b"),
    ],
)
def test_lazy_texts_that_need_themselves_are_an_error(texts: dict[str, str], circle: str) -> None:
    scope = _Scope(texts)

    with pytest.raises(ExpressionError, match=circle):
        scope.lookup("a")
    with pytest.raises(ExpressionError, match=circle):  # and stay one
        scope.lookup("a")
