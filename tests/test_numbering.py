# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers on messages: consecutive within a run of a sender, of another session in the next."""

from semcom import keys
from semcom.wire.numbering import Numbering


def test_numbers_are_consecutive_and_sessions_differ():
    first, second = Numbering(), Numbering()
    numbers = [first.next() for _ in range(3)]
    assert numbers == [{keys.SESSION: first.session, keys.SEQUENCE: n} for n in range(3)]
    assert first.session != second.session and second.next()[keys.SEQUENCE] == 0
    assert Numbering(session=7).next() == {keys.SESSION: 7, keys.SEQUENCE: 0}
