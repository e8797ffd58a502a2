# SPDX-License-Identifier: GPL-3.0-or-later
"""A radio that falls silent; pictures counted by what the radio says of their bursts."""

from semcom.radio.ledger import AirLedger
from semcom.radio.reports import LATE, ON_AIR, UNANSWERED
from semcom.radio.timing import Time
from semcom.radio.watchdog import START_S, Watchdog


class Watched:
    """A watchdog over a radio and a computer whose time a test sets."""

    def __init__(self, owes=True):
        self.now_s, self.owes, self.dead, self.looks = 0.0, owes, False, 0
        self.dog = Watchdog(self.clock, lambda now: self.owes, lambda: self.now_s)
        assert self.after(START_S) == "" and not self.looks, "a stream that has just been begun"

    def clock(self):
        self.looks += 1
        if self.dead:
            raise RuntimeError("many words\nOpTimeout: no ACK")
        return Time.of(self.now_s)

    def after(self, seconds):
        self.now_s += seconds
        return self.dog.complaint()


def test_a_radio_from_which_something_comes_is_not_asked():
    watched = Watched()
    for _ in range(50):
        watched.dog.sign()
        assert watched.after(0.5) == ""
    assert watched.looks == 0


def test_a_clock_that_cannot_be_read_is_reported_after_a_while():
    watched = Watched(owes=False)
    assert watched.after(2) == "" and watched.after(10) == "", "idle, and it answers"
    watched.dead = True
    assert watched.after(0.5) == "" and watched.after(1) == ""
    assert watched.after(2) == "its clock cannot be read: OpTimeout: no ACK"


def test_silence_where_something_is_due_is_reported_although_the_clock_runs():
    watched = Watched()
    assert watched.after(2) == "" and "nothing came of it for 4 s" in watched.after(2)


def test_pictures_count_when_every_burst_of_them_was_on_the_air():
    ledger = AirLedger()
    ledger.made(2)
    ledger.made(3)
    ledger.made(1)
    for index, answer in enumerate([ON_AIR, ON_AIR, ON_AIR, LATE, ON_AIR]):
        ledger.answer(index, answer)
    assert ledger.pictures == 1
    ledger.answer(5, ON_AIR)
    ledger.answer(6, UNANSWERED)  # the silence after the last
    assert ledger.pictures == 2 and ledger.answers == {ON_AIR: 5, LATE: 1} and ledger.bursts_made == 6
