"""What must hold of a tree once it is at rest, read from the documents of `dmmp show`.

Pure: documents in, complaints out. The names in complaints are those of the hosts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dmmp.demo.overlay import Document, descendants, parents_of

SOURCE = "source"
SUPER_NODE = "super-node"


def misplaced(documents: Mapping[str, Document], expected: Collection[str]) -> list[str]:
    """List who of these hosts has no proper place; the rendezvous point is none of them.

    Every host is below the source, and every member in the cluster of the super node above it.
    """
    parents = parents_of(documents)
    below = {SOURCE, *descendants(parents, SOURCE)}
    problems = [f"{name} does not answer" for name in expected if name not in documents]
    for name in expected:
        if name not in documents or name == SOURCE:
            continue
        if name not in below:
            problems.append(f"{name} is not below the source")
            continue
        problems += _of_cluster(documents, name, parents)
    return problems


def fed_twice(documents: Mapping[str, Document]) -> list[str]:
    """List who is not a child of its parent, or of another host too.

    Who is cut off from its parent stays a child there until the hold time has passed (Decision 10).
    """
    names = {document.get("node_id"): name for name, document in documents.items()}
    feeders: dict[str, list[str]] = {}
    for feeder, document in documents.items():
        for child in (document.get("children") or []) + (document.get("mesh_children") or []):
            feeders.setdefault(names.get(child["node_id"], "?"), []).append(feeder)
    return [
        f"{name} is below {parent}, but a child of {' and '.join(sorted(feeders[name]))}"
        if name in feeders
        else f"{name} is below {parent}, but nobody's child"
        for name, parent in parents_of(documents).items()
        if feeders.get(name) != [parent]
    ]


def _of_cluster(
    documents: Mapping[str, Document], name: str, parents: Mapping[str, str]
) -> list[str]:
    at = name
    while at in parents and documents[at]["role"] != SUPER_NODE:
        at = parents[at]
    above, told = documents[at]["node_id"], documents[name]["super_node"]
    if at == SOURCE or told == above:
        # What hangs below the source itself has no super node.
        return []
    return [f"{name} is below the super node {at}, but in the cluster of {told}"]


def clusters_of(
    documents: Mapping[str, Document], members: Collection[str]
) -> dict[str, list[str]]:
    """Tell which of these members are below which super node, the nearest one above each."""
    parents = parents_of(documents)
    found: dict[str, list[str]] = {
        name: [] for name, document in documents.items() if document.get("role") == SUPER_NODE
    }
    for name in members:
        at = name
        while at in parents and at not in found:
            at = parents[at]
        if at in found and at != name:
            found[at].append(name)
    return found


def draw(parents: Mapping[str, str], top: str = SOURCE) -> str:
    """Write a tree on one line: `source(s1(m1 m2(m3)) s2)`."""
    children = sorted(
        (name for name, above in parents.items() if above == top), key=lambda n: (n[0], len(n), n)
    )
    if not children:
        return top
    return f"{top}({' '.join(draw(parents, child) for child in children)})"
