# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib

import numpy as np
import pytest
import torch

from semcom.errors import ConfigError
from semcom.payload.coded.base_graph import LIFTINGS, choose_graph, lifted_graph
from semcom.payload.coded.ldpc import LdpcCode, ldpc_code

# (info, coded, bits a symbol): code words of Sionna 2.2's encoder, two blocks, packed, sha256
REFERENCE = {
    (171, 512, 2): "9356dfcb1d685a3a",
    (400, 1024, 4): "73c8bed7468c0902",
    (768, 1024, 4): "5b67fdcd5f1d8545",
    (1707, 2048, 8): "ef90916682ec56be",
    (8192, 12288, 6): "b134682f814512b3",
}


def ratios(coded, snr_db, seed=0):
    """Log-likelihood ratios of BPSK symbols at Es/N0 per real dimension."""
    deviation = 10 ** (-snr_db / 20)
    noise = torch.randn(coded.shape, generator=torch.Generator().manual_seed(seed)) * deviation
    return (1 - 2 * coded.float() + noise) * 2 / deviation**2


@pytest.mark.parametrize("sizes", REFERENCE, ids=str)
def test_code_words_are_those_of_another_implementation(sizes):
    info = torch.from_numpy(np.random.default_rng(sizes[0]).integers(0, 2, (2, sizes[0])))
    coded = ldpc_code(*sizes).encode(info).numpy().astype(np.uint8)
    assert hashlib.sha256(np.packbits(coded, axis=1).tobytes()).hexdigest()[:16] == REFERENCE[sizes]


def test_base_graphs_are_whole():
    assert len(LIFTINGS) == 51 and max(LIFTINGS) == 384
    for graph, rows, columns, entries in ((1, 46, 68, 316), (2, 42, 52, 197)):
        lifted = lifted_graph(graph, 384)
        assert (len(lifted.rows), lifted.columns) == (rows, columns)
        assert sum(len(row) for row in lifted.rows) == entries


def test_graph_follows_size_and_rate():
    assert choose_graph(768, 1024)[0] == 1 and choose_graph(768, 1536)[0] == 2
    assert choose_graph(8192, 12288)[0] == 1
    assert choose_graph(292, 400) == (2, 40, 8)


@pytest.mark.parametrize("sizes", [(51, 512, 2), (342, 512, 2), (768, 1024, 4), (1280, 1536, 6)])
def test_noise_that_the_code_bears_is_removed(sizes):
    code = ldpc_code(*sizes)
    info = torch.randint(0, 2, (30, sizes[0]), generator=torch.Generator().manual_seed(3))
    decoded, held = code.decode(ratios(code.encode(info), 8.0))
    assert held.all() and torch.equal(decoded.long(), info)


def test_too_much_noise_is_noticed():
    code = ldpc_code(768, 1024, 4)
    info = torch.randint(0, 2, (30, 768), generator=torch.Generator().manual_seed(4))
    decoded, held = code.decode(ratios(code.encode(info), 0.0), iterations=5)
    assert not held.any() and (decoded != info).any(1).all()


def test_blocks_of_a_batch_do_not_touch_each_other():
    code = ldpc_code(171, 512, 2)
    info = torch.randint(0, 2, (4, 171), generator=torch.Generator().manual_seed(5))
    soft = ratios(code.encode(info), 3.0)
    soft[1] = 0  # erased
    together, _ = code.decode(soft)
    alone, _ = code.decode(soft[2:3])
    assert torch.equal(together[2:3], alone) and torch.equal(together[[0, 2, 3]].long(), info[[0, 2, 3]])


def test_repetition_adds_up():
    code = ldpc_code(40, 1024, 2)  # the circular buffer holds 50 columns: it goes round more than once
    info = torch.randint(0, 2, (5, 40), generator=torch.Generator().manual_seed(6))
    decoded, _ = code.decode(ratios(code.encode(info), -6.0))
    assert torch.equal(decoded.long(), info)


def test_no_blocks():
    assert ldpc_code(171, 512, 2).decode(torch.zeros(0, 512))[0].shape == (0, 171)


@pytest.mark.parametrize("sizes", [(0, 512, 2), (512, 512, 2), (9000, 20000, 2), (100, 511, 2)])
def test_sizes_that_no_block_has_are_refused(sizes):
    with pytest.raises(ConfigError, match="cannot be"):
        LdpcCode(*sizes)
