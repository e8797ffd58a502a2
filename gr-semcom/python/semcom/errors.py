# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of errors: each names the input that is wrong and the cure."""


def printable(text: str) -> str:
    """The same text with what no screen, log or message takes written out: bytes of a file name that are not UTF-8 as
    \\xff, control characters as \\x1b."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _written_out(c) for c in text)


def _written_out(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class SemcomError(Exception):
    """Base of every error that a user's input can cause.

    The message is one or two plain sentences: what was wrong with which input, and what to do. It is ``printable``,
    whatever the names of files in it. The command line prints it without a traceback; a block counts it and goes on.

    Attributes:
        exit_status: of a command that ends with it.
        kind: the same without the name of the input, for a counter: a thousand bad files are one kind of fault. The
            message itself where none is given.
    """

    exit_status = 2

    def __init__(self, message: str = "", kind: str = ""):
        super().__init__("\n".join(map(printable, str(message).split("\n"))))
        self.kind = printable(kind) or str(self)


class ImageError(SemcomError):
    """A picture that cannot be read or is outside the supported sizes."""


class ModelError(SemcomError):
    """An unknown model name, or weights that do not fit their card."""


class HeaderError(SemcomError):
    """A burst header with impossible or unsupported fields."""


class PduError(SemcomError):
    """A message that lacks keys or holds the wrong kind of vector."""


class ConfigError(SemcomError):
    """A profile, recipe or argument with an unknown key or an impossible value."""


class OutputError(SemcomError):
    """A file or folder that cannot be written."""


class NotSentError(SemcomError):
    """Of some pictures nothing could be sent (status 1), or of none of them (2)."""

    exit_status = 1


class MissingError(SemcomError):
    """A program or package that the command needs and this machine lacks."""


class PluginError(SemcomError):
    """A researcher's own file that is absent or does not import; the command line ends with status 1, not 2."""

    exit_status = 1
