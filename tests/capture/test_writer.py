# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written is read back, whatever happens to the writer, the disk and the folder."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from capture_bench import INFO, note_of, samples_of, validate
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.capture import BurstNote, CaptureError, CaptureWriter, RecordingInfo, read_recordings
from semcom.capture import journal as journal_module
from semcom.errors import ConfigError

BIG = 4096  # samples: 32 KiB

hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
reals = st.floats(-0.5, 0.5, allow_nan=False)
words = st.text(st.characters(codec="utf-8"), max_size=20)
notes = st.builds(
    BurstNote,
    sample_offset=st.integers(-32, 2**62),
    cfo=reals,
    cfo_refined=st.none() | reals,
    sync_quality=st.none() | st.floats(0, 1),
    image_id=st.integers(0, 65535),
    burst_index=st.integers(0, 510),
    burst_count=st.integers(1, 511),
    height=st.none() | st.integers(1, 8191),
    width=st.none() | st.integers(1, 8191),
    latent_count=st.none() | st.integers(1, 2**22 - 1),
    model_hash=st.none() | st.integers(0, 2**22 - 1),
    link_hash=st.none() | st.integers(0, 1023),
    snr_db=st.none() | st.floats(-40, 120),
    snr_stderr_db=st.none() | st.floats(0, 30),
    latents_sha256=st.none() | hashes,
    batch_start=st.none() | st.integers(0, 2**62),
    batch=st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5).map(tuple),
    image=st.none() | words,
    image_sha256=st.none() | hashes,
    error=st.none() | words,
)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(notes, st.integers(1, 300), st.floats(0, 4e9)), min_size=1, max_size=8))
def test_what_is_written_is_read_back(bursts):
    with tempfile.TemporaryDirectory() as folder:
        writer = CaptureWriter(folder, INFO, min_free_bytes=0)
        for number, (note, count, received_s) in enumerate(bursts):
            assert writer.write(samples_of(number, count), note, received_s)
        writer.close()
        (recording,), problems = read_recordings(folder)
        validate(recording.path.with_name(recording.name + ".sigmf-meta"))
        assert recording.state == "closed" and not problems and not recording.skipped
        assert recording.checksum_fits() and len(recording.bursts) == len(bursts)
        for number, (burst, (note, count, received_s)) in enumerate(
            zip(recording.bursts, bursts, strict=True)
        ):
            assert burst.note == note  # floats to the last bit
            assert np.array_equal(burst.samples(), samples_of(number, count))
            assert burst.received_s == pytest.approx(received_s, abs=1e-5)


def test_metadata_say_what_another_tool_needs(recorder, tmp_path):
    link = {"name": "test", "modem": {"fft_size": 256}}
    writer = recorder(info=RecordingInfo(2e6, 868e6, "a B210", link, 77, "torch"))
    writer.write(samples_of(5, 100), note_of(5), 0.0)
    writer.write(samples_of(900, 50), note_of(900, image_id=None, burst_index=None, error="no header"), 1.5)
    writer.close()
    (meta,), (data,) = list(tmp_path.glob("*.sigmf-meta")), list(tmp_path.glob("*.sigmf-data"))
    content = json.loads(meta.read_text())
    assert content["global"]["core:sample_rate"] == 2e6 and content["global"]["core:hw"] == "a B210"
    assert content["global"]["semcom:link"] == link and content["global"]["semcom:link_hash"] == 77
    assert content["global"]["core:extensions"] == [{"name": "semcom", "version": "1.0.0", "optional": True}]
    assert content["global"]["core:sha512"] == hashlib.sha512(data.read_bytes()).hexdigest()
    first, second = content["captures"]
    assert (first["core:sample_start"], second["core:sample_start"]) == (0, 100)
    assert (first["core:global_index"], first["semcom:sample_offset"]) == (5, 5)
    assert first["core:frequency"] == 868e6 and second["core:datetime"] == "1970-01-01T00:00:01.500000Z"
    assert [a["core:label"] for a in content["annotations"]] == ["00005 1/1", "unread"]
    assert not list(tmp_path.glob("*.sigmf-journal"))


def test_the_command_of_the_sigmf_package_accepts_open_and_closed_files(recorder, tmp_path):
    closed = recorder()
    closed.write(samples_of(1, 64), note_of(1), 0.0)
    closed.close()
    still_open = recorder()
    still_open.write(samples_of(2, 64), note_of(2), 0.0)
    names = sorted(str(path) for path in tmp_path.glob("*.sigmf-meta"))
    assert len(names) == 2
    command = [sys.executable, "-W", "error", "-c", "from sigmf.validate import main; main()", *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_a_recording_can_be_read_while_it_is_written(recorder, tmp_path):
    writer = recorder(checkpoint_s=3600.0)  # only the journal knows of the later bursts
    for offset in range(5):
        writer.write(samples_of(offset, 64), note_of(offset), 0.0)
    (recording,), _ = read_recordings(tmp_path)
    assert recording.state == "being written"
    assert [burst.note.sample_offset for burst in recording.bursts] == [0, 1, 2, 3, 4]
    assert np.array_equal(recording.bursts[4].samples(), samples_of(4, 64))


def test_a_reading_of_what_was_not_recorded_is_not_lost_a_second_time(recorder, monkeypatch):
    writer = recorder()
    assert writer.write(samples_of(0, BIG), note_of(0, image_id=None, error="no header came"), 0.0)
    monkeypatch.setattr(
        writer, "_append", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    assert not writer.write(samples_of(1, BIG), note_of(1), 0.0)

    def lost() -> int:
        return sum(count for reason, count in writer.counters.items() if "not recorded" in reason)

    assert lost() == 1
    assert not writer.amend(note_of(1)) and lost() == 1
    assert not writer.amend(note_of(0)) and lost() == 2, "that burst is in the file, and its reading is not"


# --- bounds --------------------------------------------------------------------------------------------


def used(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


@pytest.mark.parametrize("how", ["closed", "rotated", "cut off"])
def test_a_late_reading_takes_the_place_of_the_error(recorder, tmp_path, how):
    writer = recorder(checkpoint_s=0.0 if how != "cut off" else 1e9, max_file_bytes=2 * 8 * BIG)
    late = [note_of(offset, image_id=None, error="no header came") for offset in range(2)]
    for offset, note in enumerate(late):
        assert writer.write(samples_of(offset, BIG), note, 1e9 + offset)
    if how == "rotated":
        assert writer.write(samples_of(2, BIG), note_of(2), 1e9)
    assert writer.amend(note_of(1)) and not writer.amend(note_of(1)) and not writer.amend(note_of(77))
    assert writer.counters["bursts recorded that could not be read"] == 1
    if how != "cut off":
        writer.close()
    recordings, _ = read_recordings(tmp_path)
    bursts = recordings[0].bursts
    assert [burst.note for burst in bursts] == [late[0], note_of(1)]
    assert bursts[1].received_s == 1e9 + 1 and np.array_equal(bursts[1].samples(), samples_of(1, BIG))
    assert recordings[0].checksum_fits() is (None if how == "cut off" else True)


def test_bounds_hold_at_every_burst_and_whole_recordings_go(recorder, tmp_path):
    writer = recorder(max_file_bytes=5 * 8 * BIG, max_total_bytes=14 * 8 * BIG)
    most = 0
    for offset in range(60):
        assert writer.write(samples_of(offset, BIG), note_of(offset), 0.0)
        most = max(most, used(tmp_path))
    writer.close()
    assert most <= 14 * 8 * BIG and used(tmp_path) <= 14 * 8 * BIG
    assert most > 7 * 8 * BIG  # and the room is used
    recordings, problems = read_recordings(tmp_path)
    assert not problems and all(r.data_path.stat().st_size <= 5 * 8 * BIG for r in recordings)
    kept = [burst.note.sample_offset for r in recordings for burst in r.bursts]
    assert kept == list(range(kept[0], 60)) and 0 < kept[0] < 60  # the latest, without a hole
    assert writer.counters["recordings removed to stay within max_total_bytes"] >= 8
    for recording in recordings:
        validate(recording.path.with_name(recording.name + ".sigmf-meta"))


def test_what_an_earlier_run_left_counts_but_is_never_removed(recorder, tmp_path):
    first = recorder(max_file_bytes=2**18, max_total_bytes=2**20)
    for offset in range(20):
        first.write(samples_of(offset, BIG), note_of(offset), 0.0)
    first.close()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    second = recorder(max_file_bytes=2**18, max_total_bytes=2**19)
    assert not second.write(samples_of(99, BIG), note_of(99), 0.0)
    assert "leave no room" in second.stopped and str(tmp_path) in second.stopped
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_burst_that_fits_no_file_is_counted_and_the_rest_goes_on(recorder, tmp_path):
    writer = recorder(max_file_bytes=2**16)
    assert not writer.write(samples_of(0, 3 * BIG), note_of(0), 0.0)
    assert not writer.write(np.empty(0, np.complex64), note_of(1), 0.0)
    assert writer.write(samples_of(2, 10), note_of(2), 0.0)
    assert writer.counters["bursts not recorded: empty, or longer than max_file_bytes"] == 2


@pytest.mark.parametrize(
    "wrong", [{"max_file_bytes": 10}, {"max_total_bytes": 2**28}, {"min_free_bytes": -1}]
)
def test_impossible_bounds_are_refused_by_name(tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CaptureWriter(tmp_path, INFO, **wrong)


# --- a disk that fills -----------------------------------------------------------------------------------


def check_stopped_cleanly(writer, folder, written):
    assert "No space" in writer.stopped or "full" in writer.stopped or "too large" in writer.stopped, (
        writer.stopped
    )
    assert not writer.write(samples_of(0, 10), note_of(0), 0.0)
    assert writer.counters[f"bursts not recorded: {writer.stopped}"] >= 2
    recordings, problems = read_recordings(folder)
    assert not problems
    bursts = [burst for recording in recordings for burst in recording.bursts]
    assert [burst.note.sample_offset for burst in bursts] == written
    for burst in bursts:
        assert np.array_equal(burst.samples(), samples_of(burst.note.sample_offset, burst.count))


def fill(writer) -> list[int]:
    """Writes until the disk is full; the offsets of what got in."""
    for offset in range(10_000):
        if not writer.write(samples_of(offset, 1000), note_of(offset), 0.0):
            return list(range(offset))
    raise AssertionError("the disk never filled")


@pytest.fixture
def tiny_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("min_free_bytes", [0, 2**16], ids=["to the last byte", "with a reserve"])
def test_a_disk_that_fills(recorder, tiny_disk, min_free_bytes):
    writer = recorder(folder=tiny_disk, min_free_bytes=min_free_bytes)
    written = fill(writer)
    assert len(written) > 10
    check_stopped_cleanly(writer, tiny_disk, written)
    for meta in tiny_disk.glob("*.sigmf-meta"):
        validate(meta)
    if min_free_bytes:  # there was room to close it
        assert read_recordings(tiny_disk)[0][0].state == "closed"


@pytest.mark.parametrize("fail_at", range(1, 12))
def test_a_write_that_fails_anywhere(recorder, tmp_path, monkeypatch, fail_at):
    """The ``fail_at``-th write takes half of what it is given, the next none."""
    writer, calls, write = recorder(), [], os.write

    def failing(file, data):
        calls.append(len(data))
        if len(calls) == fail_at:
            return write(file, data[: len(data) // 2])
        if len(calls) > fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "write", failing)
        written = fill(writer)
    writer.close()
    if written:
        check_stopped_cleanly(writer, tmp_path, written)
    else:
        assert not list(tmp_path.glob("*.sigmf-data"))
        assert "No space" in writer.stopped


# --- killed at any moment ----------------------------------------------------------------------------------

_KILLED = """
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[2])
from capture_bench import INFO, note_of, samples_of
from semcom.capture.writer import CaptureWriter
from pathlib import Path
def used(folder):
    total = 0
    for file in folder.glob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # renamed in the meantime
            pass
    return total
chance = random.Random(5)
for turn in range(int(sys.argv[3])):
    child = os.fork()
    if child == 0:
        writer = CaptureWriter(Path(sys.argv[1]) / str(turn), INFO, 2**17, 2**20, 0, checkpoint_s=0.0)
        for offset in range(10**9):
            writer.write(samples_of(offset, 200 + offset % 800), note_of(offset), 1e9)
    enough = chance.uniform(0, 5 * 2**17)  # bytes, not seconds: a busy machine writes less in a time
    while used(Path(sys.argv[1]) / str(turn)) < enough:
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_what_can_be_read(tmp_path):
    turns = 24
    command = [sys.executable, "-c", _KILLED, str(tmp_path), str(Path(__file__).parent), str(turns)]
    subprocess.run(command, check=True, timeout=120)
    states, total = [], 0
    for folder in tmp_path.iterdir():
        try:
            recordings, problems = read_recordings(folder)
        except CaptureError as error:  # killed before the first burst
            assert not list(folder.glob("*.sigmf-meta")), error
            continue
        # a recording that had just been rotated to holds nothing yet, and that is said
        assert all("killed before the first burst" in problem for problem in problems), problems
        bursts = [burst for recording in recordings for burst in recording.bursts]
        offsets = [burst.note.sample_offset for burst in bursts]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets))) if offsets else True
        for burst in bursts:
            assert np.array_equal(burst.samples(), samples_of(burst.note.sample_offset, burst.count))
        for journal in folder.glob("*.sigmf-journal"):
            if journal.with_suffix(".sigmf-meta").exists():  # else it was killed within its first burst
                validate(journal.with_suffix(".sigmf-meta"))
        states += [recording.state for recording in recordings]
        total += len(bursts)
        repaired_bursts(folder, offsets)
    assert states.count("cut off") > turns / 3 and states.count("closed") > 10 and total > 300


def repaired_bursts(folder, offsets):
    from semcom.capture import repair

    for journal in folder.glob("*.sigmf-journal"):
        repair(journal)
    assert not list(folder.glob("*.sigmf-journal")) and not list(folder.glob(".*.part"))
    if offsets:
        recordings, problems = read_recordings(folder)
        assert not problems and all(r.state == "closed" and r.checksum_fits() for r in recordings)
        assert [burst.note.sample_offset for r in recordings for burst in r.bursts] == offsets
        validate(recordings[-1].path.with_name(recordings[-1].name + ".sigmf-meta"))
