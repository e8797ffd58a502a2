# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of pictures wrap, transmitters restart, logs grow: the picture found is the one that was meant."""

import json

from capture_bench import note_of, samples_of

from semcom.capture import SentLog, read_recordings
from semcom.system import zoo

MODEL = "cifar-1-12"
HASH = zoo.card(MODEL).model_hash


def line(image_id, name, sent_utc, model=MODEL):
    return json.dumps(
        {"image_id": image_id, "image": name, "sha256": "ab" * 32, "sent_utc": sent_utc, "model": model}
    )


def test_the_latest_before_reception_is_meant(tmp_path):
    path = tmp_path / "sent.log"
    path.write_text("\n".join(line(5, f"{n}.png", 100.0 * n) for n in range(1, 4)) + "\n")
    log = SentLog(path)
    assert log.find(5, HASH, 250.0).name == "2.png"
    assert log.find(5, HASH, 1e9).name == "3.png"
    assert log.find(5, HASH, 3.0).name == "3.png"  # clocks far apart: the latest
    assert log.find(5, None, None).name == "3.png"
    assert log.find(5, HASH ^ 1, 250.0) is None
    assert log.find(6, HASH, 250.0) is None


def test_a_number_is_its_senders(tmp_path):
    path = tmp_path / "sent.log"
    lines = [json.loads(line(5, f"{sender}.png", 100.0)) | {"sender": sender} for sender in (0, 3)]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    log = SentLog(path)
    assert [log.find(5, HASH, 150.0, sender).name for sender in (0, 3)] == ["0.png", "3.png"]
    assert log.find(5, HASH, 150.0, 4) is None
    assert log.find(5, HASH, 150.0).name == "3.png"  # a recording of before there were senders


def test_times_as_text_and_models_that_are_not_here(tmp_path):
    path = tmp_path / "sent.log"
    path.write_text(
        line(5, "a.png", "1970-01-01T00:01:40Z")
        + "\n"
        + line(5, "b.png", "1970-01-01T00:03:20+00:00", "my own")
        + "\n"
    )
    log = SentLog(path)
    assert log.find(5, HASH, 150.0).name == "a.png"
    assert log.find(5, 1, 250.0).name == "b.png"  # an unknown model may be any


def test_a_log_that_grows_with_half_a_line_and_rubbish(tmp_path):
    path = tmp_path / "sent.log"
    log = SentLog(path)
    assert log.find(1, HASH, None) is None  # not there yet
    path.write_text(line(1, "a.png", 1.0) + "\nrubbish\n[]\n" + line(2, "b.png", 2.0)[:20])
    assert log.find(1, HASH, None).name == "a.png" and log.find(2, HASH, None) is None
    with path.open("a") as file:
        file.write(line(2, "b.png", 2.0)[20:] + "\n")
    assert log.find(2, HASH, None).name == "b.png" and log.bad_lines == 2
    path.write_text(line(3, "c.png", 3.0) + "\n")  # begun anew
    assert log.find(3, HASH, None).name == "c.png"


def test_names_that_come_after_the_burst_are_in_the_file_when_it_is_closed(recorder, tmp_path):
    path = tmp_path / "sent.log"
    writer = recorder(sent_log=SentLog(path))
    writer.write(samples_of(1, 10), note_of(1, model_hash=HASH), 50.0)
    path.write_text(line(1, "late.png", 49.0) + "\n" + line(2, "early.png", 51.0) + "\n")
    writer.write(samples_of(2, 10), note_of(2, model_hash=HASH), 52.0)
    writer.close()
    (recording,), _ = read_recordings(tmp_path)
    assert [b.note.image for b in recording.bursts] == ["late.png", "early.png"]
    assert {b.note.image_sha256 for b in recording.bursts} == {"ab" * 32}
