# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are cut, missing, foreign or altered: refused or counted, in words."""

import json
import os

import numpy as np
import pytest
from capture_bench import note_of, samples_of

from semcom.capture import CaptureError, open_recording, read_recordings, repair


@pytest.fixture
def meta(recorder, tmp_path):
    """A closed recording of five bursts of 100 samples; the path of its metadata."""
    writer = recorder()
    for offset in range(5):
        writer.write(samples_of(offset, 100), note_of(offset), 0.0)
    writer.close()
    return next(tmp_path.glob("*.sigmf-meta"))


def alter(meta, change):
    content = json.loads(meta.read_text())
    change(content)
    meta.write_text(json.dumps(content))


@pytest.mark.parametrize("ending", [".sigmf-meta", ".sigmf-data", ""])
def test_a_recording_is_known_by_any_of_its_files(meta, ending):
    assert len(open_recording(meta.with_suffix(ending)).bursts) == 5


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_metadata_cut_in_the_middle(meta, share):
    text = meta.read_text().rstrip()
    meta.write_text(text[: int(share * len(text))])
    with pytest.raises(CaptureError, match="is not JSON: .*cut short, after"):
        open_recording(meta)


@pytest.mark.parametrize(
    ("size", "whole"), [(0, 0), (799, 0), (800, 1), (2500, 3), (3999, 4)], ids=lambda n: str(n)
)
def test_samples_cut_in_the_middle(meta, size, whole):
    os.truncate(meta.with_suffix(".sigmf-data"), size)
    recording = open_recording(meta)
    assert [b.note.sample_offset for b in recording.bursts] == list(range(whole))
    assert recording.skipped["bursts whose samples are cut off"] == 5 - whole
    assert recording.checksum_fits() is False
    for burst in recording.bursts:
        assert np.array_equal(burst.samples(), samples_of(burst.note.sample_offset, 100))


def test_samples_that_vanish_while_they_are_read(meta):
    recording = open_recording(meta)
    os.truncate(recording.data_path, 100)
    with pytest.raises(CaptureError, match="ends within a burst"):
        recording.bursts[2].samples()


def test_samples_missing(meta):
    meta.with_suffix(".sigmf-data").unlink()
    with pytest.raises(CaptureError, match=r"sigmf-data is missing.*Copy both"):
        open_recording(meta)


def test_samples_altered(meta):
    data = meta.with_suffix(".sigmf-data")
    data.write_bytes(b"\x01" + data.read_bytes()[1:])
    assert open_recording(meta).checksum_fits() is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t["global"].update({"core:datatype": "ci16_le"}), "ci16_le.*cf32_le"),
        (lambda t: t["global"].update({"core:sample_rate": "fast"}), "core:sample_rate is 'fast'"),
        (lambda t: t["global"].update({"core:num_channels": 2}), "2 channels"),
        (lambda t: t.pop("annotations"), "not SigMF metadata"),
        (lambda t: t.update({"captures": [{}]}), "not SigMF metadata"),
        (lambda t: t.update({"captures": [3]}), "not SigMF metadata"),
    ],
)
def test_other_files_are_refused_in_words(meta, change, words):
    alter(meta, change)
    with pytest.raises(CaptureError, match=words):
        open_recording(meta)


@pytest.mark.parametrize("text", ["[]", "3", '{"global": []}', "[" * 100_000, "\x00\x01"])
def test_json_of_another_kind(meta, text):
    meta.write_text(text)
    with pytest.raises(CaptureError):
        open_recording(meta)


@pytest.mark.parametrize(
    "change",
    [
        {"semcom:cfo": 3.0},
        {"semcom:cfo": "NaN"},
        {"core:sample_count": -1},
        {"core:sample_count": 2.5},
        {"semcom:latents_sha256": "../../etc/passwd"},
        {"semcom:batch": "1,2"},
        {"semcom:batch": [0] * 100_000},
        {"semcom:burst_count": 2**70},
        {"semcom:sample_offset": 2**70},
        {"semcom:height": 10**9},
    ],
)
def test_annotations_outside_of_the_schema_are_skipped_and_counted(meta, change):
    alter(meta, lambda content: content["annotations"][1].update(change))
    recording = open_recording(meta)
    assert [b.note.sample_offset for b in recording.bursts] == [0, 2, 3, 4]
    (reason,) = recording.skipped
    assert next(iter(change)) in reason


@pytest.mark.parametrize("key", ["semcom:burst_index", "semcom:burst_count"])
def test_half_a_header_is_none(meta, key):
    alter(meta, lambda content: content["annotations"][1].pop(key))
    recording = open_recording(meta)
    assert [b.note.sample_offset for b in recording.bursts] == [0, 2, 3, 4]
    assert key in next(iter(recording.skipped))


def test_many_bad_annotations_are_few_reasons(meta):
    def spoil(content):
        for number, annotation in enumerate(content["annotations"]):
            annotation["semcom:cfo"] = 3.0 + number

    alter(meta, spoil)
    recording = open_recording(meta)
    ((reason, times),) = recording.skipped.items()
    assert times == 5 and "semcom:cfo" in reason and not recording.bursts


def test_metadata_that_another_program_rewrote(meta):
    """Whole numbers with a point, a byte-order mark, dates without Z, a frequency that is none."""
    content = json.loads(meta.read_text())
    for part in content["captures"] + content["annotations"]:
        part["core:sample_start"] = float(part["core:sample_start"])
    for capture in content["captures"]:
        capture["core:datetime"] = capture["core:datetime"].removesuffix("Z")
    for annotation in content["annotations"]:
        annotation |= {
            k: float(v) for k, v in annotation.items() if isinstance(v, int) and not isinstance(v, bool)
        }
    content["captures"][0]["core:frequency"] = "none"
    before = [(burst.start, burst.received_s, burst.note.label) for burst in open_recording(meta).bursts]
    meta.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    recording = open_recording(meta)
    assert [(burst.start, burst.received_s, burst.note.label) for burst in recording.bursts] == before
    assert recording.centre_frequency_hz == 0.0 and not recording.skipped


def test_annotations_of_others_are_left_alone(meta):
    alter(meta, lambda content: content["annotations"].append({"core:sample_start": 7, "other:thing": 1}))
    recording = open_recording(meta)
    assert len(recording.bursts) == 5 and recording.skipped["annotations of others"] == 1


def test_a_folder_with_one_bad_recording_gives_the_others(meta, recorder, tmp_path):
    writer = recorder()
    writer.write(samples_of(9, 10), note_of(9), 0.0)
    writer.close()
    meta.write_text("{")
    recordings, problems = read_recordings(tmp_path)
    assert [b.note.sample_offset for r in recordings for b in r.bursts] == [9]
    assert len(problems) == 1 and meta.name in problems[0]


def test_a_folder_without_recordings(tmp_path):
    with pytest.raises(CaptureError, match="holds no SigMF recording"):
        read_recordings(tmp_path)
    with pytest.raises(CaptureError, match="there is no SigMF recording"):
        read_recordings(tmp_path / "nothing.sigmf-meta")


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_journal_cut_in_its_last_line(recorder, tmp_path, cut):
    writer = recorder(checkpoint_s=3600.0)
    for offset in range(3):
        writer.write(samples_of(offset, 100), note_of(offset), 0.0)
    (journal,) = tmp_path.glob("*.sigmf-journal")
    folder = tmp_path / "copy"  # as a disk that was pulled out would hold it
    folder.mkdir()
    (folder / journal.name).write_bytes(journal.read_bytes()[:-cut])
    data = journal.with_suffix(".sigmf-data")
    (folder / data.name).write_bytes(data.read_bytes())
    (recording,), _ = read_recordings(folder)
    assert recording.state == "cut off"
    assert [b.note.sample_offset for b in recording.bursts] == [0, 1]
    assert recording.skipped["samples after the last whole burst"] == 100
    assert "2 bursts" in repair(folder / journal.name)
    (recording,), _ = read_recordings(folder)
    assert recording.state == "closed" and recording.checksum_fits() and not recording.skipped


def test_a_recording_that_is_being_written_is_not_repaired(recorder, tmp_path):
    recorder().write(samples_of(0, 10), note_of(0), 0.0)
    (journal,) = tmp_path.glob("*.sigmf-journal")
    with pytest.raises(CaptureError, match="is being written"):
        repair(journal)
