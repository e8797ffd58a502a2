# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from semcom.codec.image.source import FORMATS
from semcom.errors import ConfigError
from semcom.payload.coded import mcs as schemes
from semcom.payload.coded.transport import Layout, choose


def test_header_field_names_codec_and_scheme():
    seen = set()
    for codec in range(len(FORMATS)):
        for mcs in schemes.TABLE:
            value = schemes.pack(codec, mcs)
            assert 0 <= value < 2**22 and schemes.unpack(value) == (codec, mcs)
            seen.add(value)
    assert len(seen) == len(FORMATS) * len(schemes.TABLE)


@pytest.mark.parametrize("value", [0, 1, 2**22 - 1, schemes.pack(0, schemes.TABLE[0]) + 1])
def test_a_field_that_is_none_of_ours_is_none(value):
    assert schemes.unpack(value) is None


def test_unknown_scheme_lists_those_there_are():
    with pytest.raises(ConfigError, match="'16-9/10'.*adaptive.*16-3/4"):
        schemes.named("16-9/10")


def test_table_is_in_the_order_of_efficiency():
    efficiencies = [mcs.efficiency for mcs in schemes.TABLE]
    assert efficiencies == sorted(efficiencies) and len(set(efficiencies)) == len(efficiencies)


def test_thresholds_rise_with_efficiency_and_lie_above_capacity():
    for symbols in (256, 512, 2048):
        for mcs in schemes.TABLE:
            if Layout(symbols, mcs).blocks > 1:
                continue
            snr = 10 ** (schemes.threshold_db(mcs, symbols) / 10)
            assert snr > 2**mcs.efficiency - 1
    at_256 = [schemes.threshold_db(mcs, 256) for mcs in schemes.TABLE]
    assert at_256[-1] > at_256[0] + 15


def test_more_snr_never_chooses_a_lower_rate():
    chosen = [choose(snr_db, 256).efficiency for snr_db in range(-10, 31)]
    assert chosen == sorted(chosen)
    assert chosen[0] == schemes.TABLE[0].efficiency and chosen[-1] == schemes.TABLE[-1].efficiency


def test_layout_fills_the_symbols_and_is_bounded_by_the_code():
    for symbols in (256, 3000, 98304):
        for mcs in schemes.TABLE:
            layout = Layout(symbols, mcs)
            lengths = layout.block_symbols
            assert sum(lengths) == symbols and max(lengths) - min(lengths) <= 1
            assert all(layout.info_bits(length) <= 8448 for length in lengths)
            assert layout.payload_bytes * 8 < symbols * mcs.efficiency


def test_too_few_symbols_are_refused():
    with pytest.raises(ConfigError, match="hold no byte"):
        Layout(8, schemes.named("4-1/5"))
