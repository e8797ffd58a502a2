# SPDX-License-Identifier: GPL-3.0-or-later
"""What a late burst costs, tried on a radio with virtual time; for tests and for ``make torture``."""

from dataclasses import dataclass

import numpy as np

from semcom.radio.fake import FakeRadio, FakeUsrpSink
from semcom.radio.reports import TxReports
from semcom.radio.timing import BurstScheduler, BurstTimer, Time

_BEFORE, _AFTER = 25, 25  # bursts
_REPORT_S = 0.001  # from the radio's report to the schedule


@dataclass(frozen=True)
class LateTrial:
    """Of the bursts after a late one.

    Attributes:
        reports: "late" as UHD says it, once a packet. late_bursts: as we count it.
        air_use: share of the time from the first of the 25 bursts to the end of the last that is bursts.
        pause_s: from the end of the late burst to the first of them.
        recovered_after: bursts until the lead was as before.
    """

    reports: int
    late_bursts: int
    air_use: float
    pause_s: float
    recovered_after: int


def after_a_late_burst(sample_rate_hz: float, late_packets: int, burst_samples: int = 40_000) -> LateTrial:
    """Bursts back to back from a computer that stalls once, until ``late_packets`` packets of a burst are too late.

    Where the burst has fewer packets, those that follow are late as well.
    """
    late: list[int] = []
    raw: list[str] = []
    radio = FakeRadio(sample_rate_hz=sample_rate_hz, now=Time(1000, 0.0))
    sink, scheduler = FakeUsrpSink(radio), BurstScheduler(sample_rate_hz, radio.time_now)
    timer = BurstTimer(scheduler)
    reports = TxReports(
        lambda reason: None,
        lambda reason: None,
        lambda burst: (late.append(burst.number), scheduler.late(burst.number)),
        lambda burst: scheduler.acknowledged(),
    )
    waiting: list[tuple[str, Time]] = []

    def on_event(name: str, time: Time) -> None:
        raw.append(name)
        waiting.append((name, time))

    def take_reports() -> None:
        """Reports that have come by now."""
        while waiting and radio.now.minus(waiting[0][1]) > _REPORT_S:
            reports.event(*waiting.pop(0))

    radio.on_event = on_event
    sink.start()
    samples, usual_s = np.ones(burst_samples, np.complex64), scheduler.lead_s
    sent, recovered = [], None
    for number in range(_BEFORE + 1 + _AFTER):
        take_reports()
        pieces = timer.prepare(samples)
        burst = pieces[-1].burst
        if number == _BEFORE:
            overdue_s = (late_packets - 0.5) * radio.packet_samples / sample_rate_hz
            radio.advance(max(0.0, burst.start.minus(radio.now) + overdue_s))
        for piece in pieces:
            reports.sent(piece.burst)
            sink.consume(piece)
            take_reports()
        sent.append(burst)
        if number > _BEFORE and late and recovered is None and scheduler.lead_s == usual_s:
            recovered = number - _BEFORE
    after = sent[_BEFORE + 1 :]
    busy_s = sum(burst.end.minus(burst.start) for burst in after)
    return LateTrial(
        reports=raw.count("time_error"),
        late_bursts=len(late),
        air_use=busy_s / after[-1].end.minus(after[0].start),
        pause_s=after[0].start.minus(sent[_BEFORE].end),
        recovered_after=recovered or len(after),
    )
