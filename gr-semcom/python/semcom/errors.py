# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of errors: each names the input that is wrong and the cure."""


class SemcomError(Exception):
    """Base of every error that a user's input can cause.

    The message is one or two plain sentences: what was wrong with which input, and what to do.
    The command line prints it without a traceback; a block counts it and goes on.
    """


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


class MissingError(SemcomError):
    """A program or package that the command needs and this machine lacks."""
