# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom grc``: GNU Radio Companion that sees our blocks."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli.grc_paths import gnuradio_program, grc_environment
from semcom.errors import ConfigError, MissingError
from semcom.shipped import shipped_flowgraph


def grc(
    flowgraph: Annotated[
        str | None,
        typer.Argument(
            help="A .grc file, or the name of one of ours, such as loopback or rx_zmq (a wrong one lists them)."
        ),
    ] = None,
    compile_only: Annotated[
        bool, typer.Option("--compile", help="Generate the Python program, open nothing.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the generated program.")] = Path(
        "."
    ),
) -> None:
    """Open a flowgraph in GNU Radio Companion, with this environment's Python and blocks."""
    file = None if flowgraph is None else _find(flowgraph)
    if compile_only and file is None:
        raise ConfigError(
            "--compile needs a .grc file, or the name of a flowgraph that comes with the project."
        )
    program = gnuradio_program("grcc" if compile_only else "gnuradio-companion")
    environment = grc_environment()
    if compile_only:
        _compile(program, file, output, environment)
        return
    if not environment.get("DISPLAY") and not environment.get("WAYLAND_DISPLAY"):
        raise MissingError(
            "there is no display to open GNU Radio Companion on. Use --compile to generate the program."
        )
    command = [sys.executable, program, *([str(file)] if file else [])]
    os.execve(sys.executable, command, environment)


def _find(flowgraph: str) -> Path:
    """A file by its path, else one that comes with the project by its name, with or without ``.grc``."""
    file = Path(flowgraph)
    if file.is_file():
        return file
    if file.parent != Path("."):
        raise ConfigError(f"{file} does not exist.")
    return shipped_flowgraph(file.name.removesuffix(".grc"))


def _compile(program: str, file: Path, output: Path, environment: dict[str, str]) -> None:
    from semcom.files import writable_folder

    writable_folder(output)
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.py")}
    done = subprocess.run(
        [sys.executable, program, "-o", str(output), str(file)],
        env=environment,
        text=True,
        capture_output=True,
    )
    made = [path for path in sorted(output.glob("*.py")) if before.get(path) != path.stat().st_mtime_ns]
    if done.returncode or not made:
        raise ConfigError(f"{file} does not compile:\n{done.stdout}{done.stderr}")
    for path in made:
        typer.echo(path)
