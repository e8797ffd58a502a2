# SPDX-License-Identifier: GPL-3.0-or-later
"""5G NR's LDPC code (3GPP TS 38.212 sections 5.3.2 and 5.4.2): encoder and decoder, batched over blocks.

One transmission of redundancy version 0: the first 2 Z information bits are never sent, filler bits are known zeros,
the circular buffer is cut or repeated to the coded bits, and those are interleaved so that each symbol's
most reliable bits are systematic ones.

The decoder is layered sum-product (Mansour and Shanbhag, 2003): one check row of the base graph after the other, all
Z checks of a row and all blocks at once. Blocks are the last axis of every tensor, so that the rotation by a
shift moves whole rows of memory.
"""

import functools

import torch

from semcom.cached import cached_tensors
from semcom.errors import ConfigError
from semcom.payload.coded.base_graph import MAX_INFO_BITS, choose_graph, lifted_graph

ITERATIONS = 20
_LLR_LIMIT = 30.0
_KNOWN = 1e4  # log-likelihood ratio of a filler bit
_LEAST, _MOST = 1e-6, 20.0  # where phi is its own inverse in single precision
_BATCH_VALUES = 2**21  # variables of all blocks that are decoded together


class LdpcCode:
    """A rate-matched code; make it with :func:`ldpc_code`, which keeps it.

    Attributes: ``info_bits`` and ``coded_bits`` of a block, ``symbol_bits`` of the interleaver.
    """

    def __init__(self, info_bits: int, coded_bits: int, symbol_bits: int):
        cannot = not 0 < info_bits <= MAX_INFO_BITS[1] or info_bits >= coded_bits or coded_bits % symbol_bits
        if cannot or info_bits > MAX_INFO_BITS[choose_graph(info_bits, coded_bits)[0]]:
            raise ConfigError(
                f"an LDPC block of {info_bits} information bits in {coded_bits} coded ones, {symbol_bits} a symbol, "
                f"cannot be: it takes 1 to {MAX_INFO_BITS[1]} information bits ({MAX_INFO_BITS[2]} at rates up to "
                f"1/4), fewer than coded bits, and coded bits that fill whole symbols."
            )
        graph, lifting, _ = choose_graph(info_bits, coded_bits)
        self.info_bits, self.coded_bits, self.symbol_bits = info_bits, coded_bits, symbol_bits
        self._graph, self._lifting = lifted_graph(graph, lifting), lifting
        self._sent = self._sent_positions()
        used = int(self._sent.max()) // lifting + 1  # columns that anything was sent of
        self._layers = [
            self._layer(row)
            for number, row in enumerate(self._graph.rows)
            if number < 4 or self._graph.info_columns + number < used  # other rows only say what nobody asks
        ]
        self._columns = max(used, self._graph.info_columns + 4)

    def _sent_positions(self) -> torch.Tensor:
        """Where in the code word (2 Z first bits and fillers included) each bit on the air comes from, ``[n]``."""
        size = self._graph.columns * self._lifting
        place = torch.arange(2 * self._lifting, size)
        filler = (place >= self.info_bits) & (place < self._graph.info_columns * self._lifting)
        buffer = place[~filler]
        turns = -(-self.coded_bits // len(buffer))
        selected = buffer.repeat(turns)[: self.coded_bits]
        return selected.view(self.symbol_bits, -1).t().reshape(-1)  # section 5.4.2.2

    def _layer(self, row) -> torch.Tensor:
        """Indices of the variables in the checks of a base row, ``[degree, Z]``."""
        lane = torch.arange(self._lifting)
        return torch.stack([column * self._lifting + (lane + shift) % self._lifting for column, shift in row])

    def encode(self, info: torch.Tensor) -> torch.Tensor:
        """Information bits ``[B, info_bits]`` (0 and 1) to coded bits ``[B, coded_bits]``, int8, in sending order."""
        graph, lifting = self._graph, self._lifting
        word = torch.zeros(graph.columns, lifting, len(info), dtype=torch.int8)
        flat = word.view(-1, len(info))
        flat[: self.info_bits] = info.t().to(torch.int8)

        def check_sum(row) -> torch.Tensor:
            """What a row adds up to, modulo 2; columns not yet made are 0 in it."""
            return functools.reduce(
                torch.bitwise_xor, [word[column].roll(-shift, 0) for column, shift in row]
            )

        first = graph.info_columns
        # in the sum of the four core rows only one circulant of the first check column is left
        total = functools.reduce(torch.bitwise_xor, [check_sum(row) for row in graph.rows[:4]])
        shifts = [shift for row in graph.rows[:4] for column, shift in row if column == first]
        word[first] = total.roll(next(shift for shift in shifts if shifts.count(shift) % 2), 0)
        for number, made in ((0, 1), (1, 2), (3, 3)):
            word[first + made] = check_sum(graph.rows[number])
        for number, row in enumerate(graph.rows[4:], start=4):
            word[first + number] = check_sum(row)
        return flat[self._sent].t().contiguous()

    def decode(self, llr: torch.Tensor, iterations: int = ITERATIONS) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-likelihood ratios to information bits.

        Args:
            llr: float ``[B, coded_bits]`` in sending order, ln P(0) / P(1); 0 where nothing is known.
            iterations: at most so many; a block is done when every check held for one whole iteration.

        Returns:
            Bits ``[B, info_bits]`` int8, and whether all checks held, bool ``[B]``. Only the CRC above says
            whether the bits are right.
        """
        if not len(llr):
            return torch.zeros(0, self.info_bits, dtype=torch.int8), torch.zeros(0, dtype=torch.bool)
        step = max(1, _BATCH_VALUES // (self._columns * self._lifting))
        parts = [self._decode(some, iterations) for some in llr.float().split(step)]
        bits, held = zip(*parts, strict=True)
        return torch.cat(bits), torch.cat(held)

    def _decode(self, llr: torch.Tensor, iterations: int) -> tuple[torch.Tensor, torch.Tensor]:
        posterior = llr.new_zeros(self._columns * self._lifting, len(llr))
        posterior.index_add_(0, self._sent, llr.t().clamp(-_LLR_LIMIT, _LLR_LIMIT))
        posterior[self.info_bits : self._graph.info_columns * self._lifting] = _KNOWN
        bits = torch.zeros(len(llr), self.info_bits, dtype=torch.int8)
        held = torch.zeros(len(llr), dtype=torch.bool)
        alive = torch.arange(len(llr))
        messages = [posterior.new_zeros(*layer.shape, len(llr)) for layer in self._layers]
        for _ in range(iterations):
            broken = self._iterate(posterior, messages)
            if not bool(broken.all()):
                good = ~broken
                bits[alive[good]] = (posterior[: self.info_bits, good] < 0).t().to(torch.int8)
                held[alive[good]] = True
                alive, posterior = alive[broken], posterior[:, broken]
                messages = [message[..., broken] for message in messages]
            if not len(alive):
                break
        bits[alive] = (posterior[: self.info_bits] < 0).t().to(torch.int8)
        return bits, held

    def _iterate(self, posterior: torch.Tensor, messages: list[torch.Tensor]) -> torch.Tensor:
        """All check rows once, in place; returns for each block whether any check was broken when met."""
        broken = torch.zeros(posterior.shape[1], dtype=torch.bool)
        for layer, message in zip(self._layers, messages, strict=True):
            values = posterior[layer.flatten()].view_as(message)
            odd = (values < 0).sum(0) & 1
            broken |= odd.bool().any(0)
            values -= message
            sizes = _phi(values.abs())
            negative = values < 0
            sign = 1.0 - 2.0 * (negative.sum(0, keepdim=True) & 1)
            torch.where(negative, -sign, sign, out=message)
            message *= _phi(sizes.sum(0, keepdim=True) - sizes)
            values += message
            posterior[layer.flatten()] = values.view(-1, values.shape[-1])
        return broken


def _phi(values: torch.Tensor) -> torch.Tensor:
    """-ln tanh(x / 2), its own inverse, for x >= 0."""
    return values.clamp(_LEAST, _MOST).mul_(0.5).tanh_().log_().neg_()


@cached_tensors(64)
def ldpc_code(info_bits: int, coded_bits: int, symbol_bits: int) -> LdpcCode:
    """The code of ``info_bits`` in ``coded_bits``, interleaved for symbols of ``symbol_bits`` bits.

    Raises:
        ConfigError: sizes that no block of 5G's codes has.
    """
    return LdpcCode(info_bits, coded_bits, symbol_bits)
