"""What the command line shows: bars on a terminal, plain lines otherwise."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tasks.services.rates import count_rows

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STAGE_WIDTH = 9


class Console:
    """Stage by stage progress on standard error; results go to standard output.

    Use it with ``with``, so that a bar never outlives an error.
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._bars: Progress | None = None
        self._stage: str | None = None
        self._bar: TaskID | None = None

    def __enter__(self) -> "Console":
        if sys.stderr.isatty():
            from rich.console import Console as Terminal
            from rich.progress import BarColumn, Progress, TextColumn

            self._bars = Progress(
                TextColumn(f"{{task.fields[stage]:<{STAGE_WIDTH}}}"),
                BarColumn(bar_width=24),
                TextColumn("{task.description}", markup=False),
                console=Terminal(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._finish_bar()
        if self._bars is not None:
            self._bars.stop()

    def say(self, stage: str, text: str, done: int | None = None, total: int | None = None) -> None:
        """Show one line of a stage; with `done` of `total`, a step of its bar."""
        if self._bars is None:
            click.echo(self._line(stage, text), err=True)
            return
        if done is None or total is None:
            self._finish_bar()
            self._bars.console.print(self._line(stage, text), markup=False, highlight=False, soft_wrap=True)
            return
        if self._bar is None or stage != self._stage:
            self._finish_bar()
            self._bar = self._bars.add_task(text, total=total, stage=stage)
            self._stage = stage
        self._bars.update(self._bar, completed=done, total=total, description=text)

    def _line(self, stage: str, text: str) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        return f"{minutes:3}:{seconds:02} {stage:<{STAGE_WIDTH}} {text}"

    def counter(self, stage: str) -> Callable[[int, int], None]:
        """A callback ``(done, total)`` that shows how many rows are done and how fast."""
        return count_rows(lambda text, done, total: self.say(stage, text, done, total))

    def _finish_bar(self) -> None:
        """Leave the bar's last words as a line, so that the terminal keeps a record."""
        if self._bars is None or self._bar is None:
            return
        text = self._bars.tasks[self._bars.task_ids.index(self._bar)].description
        self._bars.remove_task(self._bar)
        self._bars.refresh()
        self._bar = None
        self._bars.console.print(self._line(self._stage or "", text), markup=False, highlight=False)


class ConsoleHandler(logging.Handler):
    """Shows our stages' lines, and warnings of anything else; Prefect's own commentary stays in its UI."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Show the record, if it is for this terminal."""
        fields: dict[str, Any] = record.__dict__
        if "tvae_stage" in fields:
            self._console.say(
                fields["tvae_stage"], record.getMessage(), fields.get("tvae_done"), fields.get("tvae_total")
            )
        elif record.levelno >= logging.WARNING and not record.name.startswith(
            ("prefect.flow_runs", "prefect.task_runs")
        ):
            # A run's errors are shown once, at the end, in our own words.
            self._console.say(
                "prefect" if record.name.startswith("prefect") else "warning", record.getMessage()
            )
