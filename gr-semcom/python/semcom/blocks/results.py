# SPDX-License-Identifier: GPL-3.0-or-later
"""How a result of each kind travels in a PDU: the fields beside its vector, and the way back."""

import math

import numpy as np

from semcom import keys
from semcom.blocks.pdu import Pdu
from semcom.errors import PduError
from semcom.kinds import IMAGE, Kind
from semcom.kinds.pictures import MAX_PIXELS


def fields_of(kind: Kind, value: np.ndarray) -> dict:
    """Of a picture (u8vector of RGB bytes) its size, of a label (f32vector of probabilities) the likeliest class."""
    if kind is IMAGE:
        return {keys.HEIGHT: value.shape[0], keys.WIDTH: value.shape[1]}
    return {keys.LABEL: int(value.argmax()), keys.CONFIDENCE: float(value.max())}


def picture_of(pdu: Pdu) -> np.ndarray:
    """The picture in a PDU, uint8 ``[H, W, 3]``.

    Raises:
        PduError: a label, or its bytes do not fit its height and width.
    """
    if keys.LABEL in pdu.meta:
        raise PduError("label PDU, which is no picture: take a label_sink")
    return _pixels_of(pdu)


def picture_to_send(pdu: Pdu) -> np.ndarray:
    """The picture in a PDU on its way to an encoder, uint8 ``[H, W, 3]``.

    Raises:
        PduError: its bytes do not fit its height and width, or it is larger than can be sent.
    """
    return _pixels_of(pdu, MAX_PIXELS)


def _pixels_of(pdu: Pdu, most_pixels: float = math.inf) -> np.ndarray:
    pixels, height, width = pdu.vector(np.uint8), pdu.integer(keys.HEIGHT), pdu.integer(keys.WIDTH)
    if height < 1 or width < 1 or height * width > most_pixels or len(pixels) != 3 * height * width:
        raise PduError("picture PDU whose bytes do not fit its height and width")
    return pixels.reshape(height, width, 3)


def label_of(pdu: Pdu) -> np.ndarray:
    """The probabilities in a PDU, float32 ``[classes]``.

    Raises:
        PduError: no label, or one that is none of its classes.
    """
    if keys.LABEL not in pdu.meta:
        raise PduError("PDU without a label: take an image_sink for pictures")
    probabilities, label = pdu.vector(np.float32), pdu.integer(keys.LABEL)
    if not 0 <= label < len(probabilities):
        raise PduError("label PDU whose label is none of its classes")
    return probabilities
