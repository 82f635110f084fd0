"""Progress for a person: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from enos_crdb import events
from enos_crdb.ansible import message_of
from enos_crdb.model import Event

ENDS = ("phase-done", "phase-failed")
ARGUMENTS_CHECK = "Validating arguments against arg spec"
"""Ansible's own task at the beginning of every Ansible role of ours: worth a line only when it fails."""


class PlainDisplay:
    """One line per phase and remark, with the seconds since the start; with ``verbose``, tasks too.

    A phase's line begins with the phase and ends with it. What is told in between breaks the line.
    """

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console = console
        self._verbose = verbose
        self._started = time.monotonic()
        self._begun = ""

    def __call__(self, event: Event) -> None:
        text = line(event, verbose=self._verbose)
        if not text:
            return
        if event.kind in ENDS and event.text == self._begun:
            self._begun = ""
            self._print(f" {outcome(event)}")
            return
        self.end()
        stays = event.kind == "phase" and not self._verbose
        elapsed = time.monotonic() - self._started
        self._print(f"{elapsed:7.1f} s  {text}", end="" if stays else "\n")
        self._begun = event.text if stays else ""

    def end(self) -> None:
        """End a line that was begun."""
        if self._begun:
            self._begun = ""
            self._print("")

    def _print(self, text: str, end: str = "\n") -> None:
        self._console.print(text, end=end, soft_wrap=True, highlight=False)


class LiveDisplay:
    """A spinner with phase, Ansible task, hosts and elapsed time; what is done scrolls above it."""

    def __init__(self, console: Console, progress: Progress, *, verbose: bool = False) -> None:
        self._console = console
        self._progress = progress
        self._verbose = verbose
        self._current: TaskID | None = None
        self._hosts: set[str] = set()

    def __call__(self, event: Event) -> None:
        match event.kind:
            case "phase":
                self._drop()
                self._current = self._progress.add_task(escape(event.text), total=1.0, detail="")
            case "phase-done" | "phase-failed":
                self._drop()
            case "task":
                self._hosts = set()
                self._detail(event.text)
            case "ok" | "changed" | "skipped" | "retry" if event.host:
                self._hosts.add(event.host)
                self._detail(f"{event.text}  {', '.join(sorted(self._hosts))}")
            case "progress":
                self._detail(event.text)
        text = line(event, verbose=self._verbose)
        if text and event.kind not in ("phase", "task", "progress", "phase-failed"):
            self._console.print(text, highlight=False)

    def _detail(self, text: str) -> None:
        if self._current is not None:
            self._progress.update(self._current, detail=escape(text))

    def _drop(self) -> None:
        if self._current is not None:
            self._progress.remove_task(self._current)
            self._current = None


def outcome(event: Event) -> str:
    """How a phase ended: the seconds, and what came of it."""
    seconds = f"[dim]{event.data['seconds']:.1f} s[/dim]"
    if event.kind == "phase-failed":
        return f"[red]not done[/red] after {seconds}"
    result = event.data.get("result", "")
    return f"{seconds}  {escape(result)}" if result else seconds


def line(event: Event, *, verbose: bool = False) -> str:
    """`event` as one line of rich markup, or nothing when it is not worth one."""
    text = escape(event.text)
    if ARGUMENTS_CHECK in event.text and event.kind in ("task", "ok"):
        return ""
    match event.kind:
        case "phase":
            return f"[bold]{text}[/bold]"
        case "phase-done":
            return f"[green]✓[/green] {text} {outcome(event)}"
        case "phase-failed":
            return f"[red]✗[/red] {text} {outcome(event)}"
        case "task" if verbose:
            return f"  [dim]{text}[/dim]"
        case "item":
            return f"[bold cyan]{text}[/bold cyan]"
        case "note":
            return f"  {text}"
        case "progress":
            return f"  [dim]{text}[/dim]"
        case "warning":
            return f"  [yellow]warning:[/yellow] {text}"
        case "failed" | "unreachable":
            return f"  [red]{event.kind}[/red] {event.host}: {text}"
        case "changed" | "ok" if verbose:
            detail = escape(message_of(event.data)) if event.kind == "changed" else ""
            return f"    {event.kind} {event.host} {'' if detail.startswith('no message') else detail}".rstrip()
    return ""


@contextmanager
def showing(console: Console, *, verbose: bool = False) -> Iterator[None]:
    """Show events inside the block: live on a terminal, else as plain lines."""
    if not console.is_terminal:
        plain = PlainDisplay(console, verbose=verbose)
        try:
            with events.listening(plain):
                yield
        finally:
            plain.end()
        return
    # Only the last column may be cut when the line is too long for the terminal.
    columns = (
        SpinnerColumn(table_column=Column(min_width=1, no_wrap=True)),
        TimeElapsedColumn(table_column=Column(min_width=7, no_wrap=True)),
        TextColumn("[bold]{task.description}  [dim]{task.fields[detail]}", table_column=Column(no_wrap=True)),
    )
    with (
        Progress(*columns, console=console, transient=True, refresh_per_second=5) as progress,
        events.listening(LiveDisplay(console, progress, verbose=verbose)),
    ):
        yield
