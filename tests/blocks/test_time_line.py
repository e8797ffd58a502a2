# SPDX-License-Identifier: GPL-3.0-or-later
"""Values at the times when they came, evenly spaced."""

import time

import numpy as np
import pmt
import pytest
from radio_bench import Bench

from semcom import blocks
from semcom.blocks import pdu as bridge
from semcom.blocks.pdu import Pdu
from semcom.blocks.time_line import line
from semcom.errors import ConfigError

pytestmark = pytest.mark.timeout(60)


def test_a_value_holds_until_the_next_and_the_newest_is_last():
    kept = [(0.0, 1.0), (1.0, 2.0), (1.1, 3.0), (4.0, 4.0)]
    assert line(kept, 4.0, 60.0, 2.0).tolist() == [1, 1, 2, 3, 3, 3, 3, 3, 4]
    assert line(kept, 4.0, 2.0, 2.0).tolist() == [3, 3, 3, 4]
    assert line([(7.0, 1.0)], 7.0, 60.0, 2.0).tolist() == [1]
    assert len(line([(0.0, 1.0), (1000.0, 2.0)], 1000.0, 60.0, 5.0)) == 300


def test_the_last_of_each_vector_counts_at_the_time_it_comes():
    values = lambda *numbers: Pdu({}, np.array(numbers, np.float32))  # noqa: E731
    with Bench(blocks.time_line(span_s=10.0, rate_hz=10.0), "out") as bench:
        bench.post(values(9, 9, 1))
        bench.messages("out", 1)
        time.sleep(0.5)
        bench.post(values(9, 2))
        drawn = bridge.from_vector(pmt.cdr(bench.messages("out", 2)[-1]))
        assert drawn[-1] == 2 and 5 <= len(drawn) and set(drawn[:-1].tolist()) == {1.0}
        bench.post(values())
        bench.post(pmt.from_long(3))
        bench.count("vector is empty")
        bench.count("not a PDU")


def test_what_cannot_be_is_refused_in_words():
    for name, value in (("rate_hz", 0.0), ("span_s", 0.0), ("span_s", 1e9), ("rate_hz", float("nan"))):
        with pytest.raises(ConfigError, match=f"time_line: {name}"):
            blocks.time_line(**{name: value})
