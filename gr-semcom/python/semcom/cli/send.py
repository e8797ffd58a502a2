# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``loopback`` and ``demo`` share: reading the inputs, choosing the way to send."""

from pathlib import Path

from semcom.cli.console import mention, progress_bar
from semcom.cli.home import CURE, home_trouble
from semcom.errors import ImageError, MissingError

_MANY = 8  # pictures: from then on reading has a bar


def read_inputs(paths: list[Path], taking):
    """Reads every picture named, folders opened, before anything is sent, with a bar where that takes time.

    Args:
        taking: a ``semcom.kinds.sets.Taking``.

    Raises:
        ImageError, ConfigError: as ``semcom.kinds.sets.read_pictures``.
    """
    from semcom.kinds.sets import read_pictures

    with progress_bar() as bar:
        task = bar.add_task("reading", total=None, visible=False)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=total >= _MANY)

        try:
            return read_pictures(paths, taking, mention, show)
        except ImageError as error:
            cure = "\nNothing was done; without --strict the others are taken." if taking.strict else ""
            raise ImageError(str(error) + cure) from error


def frames_of(paths: list[Path], taking, newest: bool, frame_size: str, fps: float | None):
    """The frames of the one video, camera or screen that is named, to be sent one by one as they come; else None.

    Args:
        taking: a ``semcom.kinds.sets.Taking``. newest, frame_size, fps: as the options are given.

    Raises:
        ConfigError: options of a video without one. ImageError: it cannot be opened.
    """
    from semcom.errors import ConfigError
    from semcom.kinds.video import Frames, is_video, size_of

    if len(paths) == 1 and is_video(paths[0]):
        size = size_of(frame_size)
        return Frames(paths[0], newest or None, size, fps, taking.max_side, taking.limit).check()
    if newest or frame_size or fps:
        raise ConfigError(
            "--newest, --frame-size and --fps are of one video, camera or screen: name it alone."
        )
    return None


def sender(radio: bool, users: list | None = None):
    """The function that sends items: through a flowgraph, or the same modem without GNU Radio.

    Args:
        users: who receives (``semcom.link.users.named_users``); None or none: one receiver.

    Raises:
        MissingError: if the flowgraph is asked for and GNU Radio cannot be imported.
    """
    if radio:
        require_gnuradio("Run `semcom doctor`, or use --no-radio for the same modem without it.")
        from semcom.blocks.loopback import run
    else:
        from semcom.link import simulate as run
    if not users:
        return run
    return lambda items, config, **options: run(items, config, users, **options)


def require_gnuradio(cure: str = "Run `semcom doctor`.") -> None:
    """Raises MissingError if GNU Radio cannot be imported, or would not start a flowgraph for want of a home."""
    trouble = home_trouble()
    if trouble:
        raise MissingError(f"{trouble}: {CURE}.")
    try:
        import gnuradio.gr  # noqa: F401
    except Exception as error:  # a numpy that does not fit raises more than ImportError
        raise MissingError(f"GNU Radio cannot be imported ({error}). {cure}") from error


def picture_model(name: str | None) -> str:
    """The model of that name, or the default one, for commands that show pictures.

    Raises:
        ModelError: no such model. ConfigError: what it gives are no pictures.
    """
    from semcom.errors import ConfigError
    from semcom.system import zoo

    name = name or default_model()
    result = zoo.card(name).result
    if result != "image":
        raise ConfigError(
            f"model '{name}' gives a {result}, and this command shows pictures: name a model of pictures, or use "
            f"`semcom evaluate` and `semcom loopback`."
        )
    return name


def default_model() -> str:
    """The model that is used when none is named: the first for photographs."""
    from semcom.system import zoo

    names = zoo.names()
    if not names:
        raise MissingError("no trained model is installed.")
    return next((name for name in names if name.startswith("photo")), names[0])
