"""`start_after`: from the names that templates write to the paths of roles, checked to be no circle."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import attrs

from libecs.errors import TemplateError
from libecs.workflow.role import Role


def resolve(roles: Iterable[Role], disabled: Collection[str]) -> tuple[Role, ...]:
    """Return the roles with `start_after` as paths.

    A name means a sibling, else a path from the root's child on, else a path from the root. What is disabled is not
    waited for.

    Raises:
        TemplateError: a name means nothing, or roles wait for each other in a circle.
    """
    all_roles = tuple(roles)
    if not any(role.start_after for role in all_roles):
        return all_roles
    index = {role.path: i for i, role in enumerate(all_roles)}
    resolved = tuple(
        attrs.evolve(role, start_after=_paths(role, all_roles, index, disabled)) if role.start_after else role
        for role in all_roles
    )
    _refuse_circles(resolved, index)
    return resolved


def _paths(role: Role, roles: tuple[Role, ...], index: dict[str, int], disabled: Collection[str]) -> tuple[str, ...]:
    prefixes = (f"{roles[role.parent].path}.", f"{roles[0].path}.", "") if role.parent >= 0 else ("",)
    found: dict[str, None] = {}
    for name in role.start_after:
        candidates = [prefix + name for prefix in prefixes]
        path = next((candidate for candidate in candidates if candidate in index), None)
        if path is not None:
            if path == role.path or role.path.startswith(f"{path}.") or path.startswith(f"{role.path}."):
                raise _error(role, f"`start_after` names {path}, which is the role itself, above it or below it")
            found[path] = None
        elif not any(candidate in disabled for candidate in candidates):
            raise _error(
                role, f"`start_after` names {name!r}, and there is no such role", "a sibling's name, or a path"
            )
    return tuple(found)


def _refuse_circles(roles: tuple[Role, ...], index: dict[str, int]) -> None:
    """A role starts after another when it, or one above it, waits for that one or for one above or below that one."""
    after: dict[int, set[int]] = {}
    ancestors: list[tuple[int, ...]] = []
    for i, role in enumerate(roles):
        ancestors.append((*(ancestors[role.parent] if role.parent >= 0 else ()), i))
    waiting = [i for i, role in enumerate(roles) if role.start_after]
    for i in waiting:
        after[i] = {index[path] for path in roles[i].start_after}
    # Follow waits from each waiting role: its target subtree's and ancestors' own waits are waits of the target too.
    related = {
        target: [w for w in waiting if target in ancestors[w] or w in ancestors[target]]
        for targets in after.values()
        for target in targets
    }
    done: set[int] = set()
    for start in waiting:
        trail: list[int] = []
        _walk(start, after, related, trail, done, roles)


def _walk(
    node: int,
    after: dict[int, set[int]],
    related: dict[int, list[int]],
    trail: list[int],
    done: set[int],
    roles: tuple[Role, ...],
) -> None:
    """Depth first without recursion over the roles that wait; a role met again on the trail closes a circle."""
    stack: list[tuple[int, list[int]]] = [(node, _next(node, after, related))]
    on_trail = {node}
    trail.append(node)
    while stack:
        current, rest = stack[-1]
        if not rest:
            stack.pop()
            trail.pop()
            on_trail.discard(current)
            done.add(current)
            continue
        following = rest.pop()
        if following in on_trail:
            circle = [*trail[trail.index(following) :], following]
            raise _error(
                roles[following], f"roles start after each other: {' -> '.join(roles[i].path for i in circle)}"
            )
        if following not in done:
            stack.append((following, _next(following, after, related)))
            on_trail.add(following)
            trail.append(following)


def _next(node: int, after: dict[int, set[int]], related: dict[int, list[int]]) -> list[int]:
    return [waiter for target in after[node] for waiter in related[target]]


def _error(role: Role, reason: str, hint: str = "") -> TemplateError:
    return TemplateError(reason, file=role.file, line=role.line, path=role.path, hint=hint)
