"""`coconut info`: what the core is, how much there is, and who you are to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.environment import moment
from ecsd.coconut.options import core_options
from ecsd.coconut.output import Output, json_option, verb

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs


@click.command(
    help="""Print what the core is: instance, version, since when, how much there is, problems, and who you are to it.

    \b
    Examples:
      coconut info
      coconut info --json
    """
)
@core_options
@json_option
@verb
def info(output: Output, **options: Any) -> int:
    """Print what the core is."""
    from ecsd.coconut.documents import core_document
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        document = core_document(await ecs.info())
        who = document["you"] or "owner"
        scope = f", for {', '.join(document['detectors'])}" if document["detectors"] else ""
        facts = (
            ("instance", document["instance"]),
            ("core version", document["version"]),
            ("running since", moment(document["started_ms"])),
            ("epoch", str(document["epoch"])),
            ("environments", str(document["environments"])),
            ("tasks", str(document["tasks"])),
            ("nodes", str(document["nodes"])),
            ("last event", str(document["sequence"])),
            ("you", f"{who}, {document['role']}{scope}"),
        )
        lines = [f"{name:<16}{text}" for name, text in facts if text]
        names = {name: name.replace("_mb", " MB").replace("_", " ") for name in sorted(document["facts"])}
        lines += [f"{names[name]:<16}{document['facts'][name]}" for name in names if document["facts"][name]]
        lines += [f"problem         {problem}" for problem in document["problems"]]
        output.document("info", document, lines)

    return Target.of(options).run(work)
