"""The key-value tree: building, looking up, and not knowing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libecs.config.tree import Tree
from libecs.errors import InvalidInput, Missing

_NAMES = st.text("abc", min_size=1, max_size=3)
_NESTED = st.recursive(
    st.dictionaries(_NAMES, st.text(max_size=5), max_size=4),
    lambda inner: st.dictionaries(_NAMES, inner | st.text(max_size=5), max_size=4),
    max_leaves=12,
)


def test_nested_mappings_become_keys_and_scalars_become_text() -> None:
    tree = Tree.of({"o2": {"runtime": {"aliecs": {"vars": {"a": "x", "b": True, "c": 8500, "d": None, "e": 1.5}}}}})

    assert tree.texts("o2/runtime/aliecs/vars") == {"a": "x", "b": "true", "c": "8500", "d": "", "e": "1.5"}
    assert tree.get("o2/runtime/aliecs/vars/a") == "x"
    assert tree.get("o2/runtime/aliecs/vars/z") is None
    assert not tree.has("o2/runtime")


def test_keys_may_hold_slashes_and_folders_are_listed_sorted() -> None:
    tree = Tree.of({"o2/hardware/flps/b/cards": "1", "o2": {"hardware": {"flps": {"a": {"cards": "2"}, "c": {}}}}})

    assert tree.list("o2/hardware/flps") == ("a", "b", "c")
    assert tree.list("o2/hardware/flps/") == ("a", "b", "c")
    assert tree.list("") == ("o2",)
    assert tree.list("nowhere") == ()


def test_texts_leaves_sub_folders_out() -> None:
    assert Tree.of({"a": {"b": "1", "c": {"d": "2"}}}).texts("a/") == {"b": "1"}


@pytest.mark.parametrize(
    ("nested", "reason"),
    [
        ({"a": ["x"]}, "is a list"),
        ({"a": {"b": "1"}, "a/b": "2"}, "stands there twice"),
        ({"a": "1", "a/b": "2"}, "is a folder too"),
        ({1: "x"}, "is no text"),
    ],
)
def test_what_is_no_tree_of_texts_is_refused(nested: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Tree.of(nested)


def test_too_deep_is_refused() -> None:
    nested: dict[str, object] = {}
    for _ in range(100):
        nested = {"a": nested}

    with pytest.raises(InvalidInput, match="deeper than"):
        Tree.of(nested)


def test_a_partial_tree_says_what_it_does_not_know() -> None:
    tree = Tree({"a/b": "1"}, complete=False)

    assert tree.get("a/b") == "1"
    with pytest.raises(Missing) as caught:
        tree.get("a/c")
    assert caught.value.keys == ("a/c",)
    with pytest.raises(Missing) as caught:
        tree.list("a")
    assert caught.value.keys == ("a/",)


def test_a_partial_tree_learns() -> None:
    tree = Tree({}, complete=False).with_known({"a/b": "1", "a/c": None, "x/y/z": "2"}, ["x/"])

    assert tree.get("a/b") == "1"
    assert tree.get("a/c") is None
    assert tree.get("x/q") is None
    assert tree.list("x/y") == ("z",)
    assert tree.list("x/nothing") == ()
    with pytest.raises(Missing):
        tree.get("a/d")


def test_a_partial_tree_that_knows_its_root_knows_all() -> None:
    assert Tree({}, complete=False).with_known({}, [""]).get("a/b") is None


@given(_NESTED)
def test_every_key_of_a_tree_is_found_through_its_folders(nested: dict[str, object]) -> None:
    tree = Tree.of(nested)

    def walk(folder: str) -> list[str]:
        found = []
        for name in tree.list(folder):
            if tree.has(folder + name):
                found.append(folder + name)
            found.extend(walk(folder + name + "/"))
        return found

    assert sorted(walk("")) == sorted(tree.leaves)


def test_an_entry_that_is_imported_again_is_replaced() -> None:
    tree = Tree.of({"o2": {"components": {"qc": {"ANY": {"any": {"entry": "old"}}}}}})

    again = tree.with_known({"o2/components/qc/ANY/any/entry": "new"})

    assert again.get("o2/components/qc/ANY/any/entry") == "new"
    assert tree.get("o2/components/qc/ANY/any/entry") == "old"
