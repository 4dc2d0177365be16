"""`coconut run export`: the record of a run as files that other programs read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import click

from ecsd.coconut.complete import runs as run_numbers
from ecsd.coconut.options import Number
from ecsd.coconut.output import Output, json_option, verb
from ecsd.coconut.records import open_records, records_options
from libecs.errors import EcsError

COLUMNS = ("role", "name", "unit", "n", "sum", "min", "max", "last", "last_ms", "mean")


@click.command(
    help="""Write the record of a run as run.json into a folder, with --csv its metrics as metrics.csv too.

    \b
    Examples:
      coconut run export 512
      coconut run export 512 --to ~/analysis --csv
      coconut run export 512 --to - --json
    """
)
@click.argument("number", type=Number(1), shell_complete=run_numbers)
@click.option(
    "--to", "folder", default="", metavar="DIR", help="Folder; default: run-NUMBER; - = stdout, nothing else."
)
@click.option("--csv", "metrics", is_flag=True, help="Metrics too, as metrics.csv.")
@records_options
@json_option
@verb
def export(output: Output, number: int, folder: str, metrics: bool, **options: Any) -> None:
    """Export a run."""
    from libecs.io.runrecord import run_document

    document = {"schema": "ecs/run/1", **run_document(open_records(options).run(number))}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    if folder == "-":
        click.echo(text)
        return
    place = Path(folder or f"run-{number}").expanduser()
    files = [place / "run.json"]
    try:
        place.mkdir(parents=True, exist_ok=True)
        files[0].write_text(text + "\n", encoding="utf-8")
        if metrics:
            files.append(place / "metrics.csv")
            with files[1].open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(document["metrics"])
    except OSError as error:
        raise EcsError(f"{place} can't be written: {error.strerror}", hint="name another folder: --to DIR") from error
    output.document("run-export", {"number": number, "files": [str(file) for file in files]}, map(str, files))
