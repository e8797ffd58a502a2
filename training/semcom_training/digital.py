# SPDX-License-Identifier: GPL-3.0-or-later
"""One codec for all modulation orders: each batch goes out analog or quantised, as drawn."""

from functools import partial

import torch

from semcom.equivalent_snr import equivalent_snr_db
from semcom.errors import ConfigError
from semcom.modem.header import mode_of
from semcom.payload import quantised as digital
from semcom_training.channels import Channel, Received


def random_orders(send: Channel, orders: list) -> Channel:
    """A channel behind a digital mode of an order drawn for every batch, one latent a symbol, uniform codebooks.

    Args:
        send: what carries symbols. orders: of constellations; 0: analog latents.

    Raises:
        ConfigError: an order that does not exist.
    """
    for order in orders:
        if not isinstance(order, int):
            raise ConfigError(f"modulation order {order!r} is no whole number")
        mode_of(order)
    return partial(_carry, send=send, orders=tuple(orders))


def _carry(latents, snr_db, generator, *, send: Channel, orders: tuple) -> Received:
    order = orders[int(torch.randint(len(orders), (1,), generator=generator))]
    if not order:
        return send(latents, snr_db, generator)
    mode, books = digital.DigitalMode(order), digital.uniform()
    with torch.no_grad():
        got = send(mode.send(latents, books), snr_db, generator)
        book = books.of(mode.bits_per_latent).to(latents.device)
        received, noise_var = digital.receive(got.latents, got.noise_var, latents.shape[1], order, book)
    # straight through: what quantising, noise and demapping change counts as noise, whose gradient is zero
    return Received(latents + (received - latents).detach(), noise_var, equivalent_snr_db(noise_var))
