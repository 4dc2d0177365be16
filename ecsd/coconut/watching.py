"""`--watch`: the same question again and again, printed when the answer has changed."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ecsd.coconut.output import Output

EVERY_S = 1.0
CLEAR = "\x1b[H\x1b[2J"

watch_option = click.option("-w", "--watch", is_flag=True, help="Again whenever it changes, until Ctrl-C.")


async def show_again(output: Output, watch: bool, show: Callable[[], Awaitable[Callable[[], None]]]) -> None:
    """Ask and print once, or with `watch` for ever; `show` asks, and what it returns prints.

    On a terminal the screen is cleared before each print; elsewhere, what has not changed is not printed again.
    """
    import asyncio  # completion reads this module too, and must not wait for it

    before = ""
    output.compact = watch
    while True:
        printing = await show()
        if not watch:
            printing()
            return
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            printing()
        if text.getvalue() != before:
            before = text.getvalue()
            if sys.stdout.isatty() and not output.as_json:
                click.echo(CLEAR, nl=False)
            click.echo(before, nl=False)
        await asyncio.sleep(EVERY_S)
