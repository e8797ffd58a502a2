# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of every make: types, SigMF of other tools, archives, collections, sample rates; or refused in words."""

import json
import tarfile
import zipfile

import numpy as np
import pytest
import sigmf
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.capture import CaptureError
from semcom.capture.metadata import utc_seconds
from semcom.capture.sample_files import BAD, SampleStream, open_samples
from semcom.capture.sample_types import sample_type

TYPES = [f"c{part}{order}" for part in ("f32", "f64", "i16", "i32", "u16", "u32") for order in ("_le", "_be")]
TYPES += ["ci8", "cu8"]


def noise(count, seed=0, rms=0.2):
    random = np.random.default_rng(seed)
    return (rms * random.standard_normal((count, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def as_type(samples, name):
    """Complex samples as the bytes of that type; of a real one the real parts."""
    kind, samples = sample_type(name), np.asarray(samples, np.complex128)
    parts = samples.real if kind.is_real else np.ascontiguousarray(samples).view(np.float64)
    if kind.part.kind != "f":
        full = 2.0 ** (8 * kind.part.itemsize - 1)
        parts = np.round(np.clip(parts, -1, 1 - 1 / full) * full - (0.5 if kind.part.kind == "u" else 0))
        parts = parts + (full if kind.part.kind == "u" else 0)
    return np.ascontiguousarray(parts.astype(kind.part)).tobytes()


def record(folder, data, name="there", captures=({"core:sample_start": 0},), **fields):
    """A SigMF recording of those bytes, as another tool would write it; the path of its metadata."""
    info = {"core:version": "1.0.0", **{f"core:{key}": value for key, value in fields.items()}}
    (folder / f"{name}.sigmf-data").write_bytes(data)
    meta = folder / f"{name}.sigmf-meta"
    meta.write_text(json.dumps({"global": info, "captures": list(captures), "annotations": []}))
    return meta


def all_of(file):
    return file.at(0, file.count)


@pytest.mark.parametrize("name", TYPES)
def test_every_type(tmp_path, name):
    samples = noise(500)
    (tmp_path / "raw").write_bytes(as_type(samples, name))
    bits = 8 * sample_type(name).part.itemsize if "f" not in name else 24
    read = [
        all_of(open_samples(tmp_path / "raw", name)),
        all_of(open_samples(record(tmp_path, as_type(samples, name), datatype=name))),
    ]
    for got in read:
        assert got.dtype == np.complex64 and len(got) == 500
        assert np.abs(got - samples).max() < 2.0 ** (1.2 - min(bits, 24))


@pytest.mark.parametrize("name", ["ci16_le", "ci8", "cf32_be", "cf64_le"])
def test_the_sigmf_package_reads_the_same(tmp_path, name):
    meta = record(tmp_path, as_type(noise(300), name), datatype=name, sample_rate=1e6)
    np.testing.assert_allclose(all_of(open_samples(meta)), sigmf.fromfile(meta).read_samples(), rtol=1e-6)


@pytest.mark.parametrize(
    "spelt, name",
    [("cs16", "ci16_le"), ("SC8", "ci8"), ("fc32", "cf32_le"), ("ci32", "ci32_le"), ("CU8", "cu8")],
)
def test_other_names_of_types_and_endings(tmp_path, spelt, name):
    assert sample_type(spelt).name == name
    (tmp_path / f"x.{spelt}").write_bytes(as_type(noise(100), name))
    assert open_samples(tmp_path / f"x.{spelt}").type.name == name


@pytest.mark.parametrize("name", ["", "c", "ci12", "cf16", "xi16", "ci16_xe", "ci16_le_le", "cf32\n"])
def test_types_that_are_none(tmp_path, name):
    (tmp_path / "raw").write_bytes(bytes(800))
    if name.strip() == "cf32":
        assert sample_type(name).name == "cf32_le"
        return
    with pytest.raises(CaptureError, match="as in SigMF: ci16_le"):
        sample_type(name)


@pytest.mark.parametrize("rms", [0.01, 0.3])
@pytest.mark.parametrize(
    "name", [name for name in TYPES if name != "cf32_le"] + ["rf32_be", "ri16_le", "ri16_be"]
)
def test_a_raw_file_of_another_type_is_not_taken_for_floats(tmp_path, name, rms):
    (tmp_path / "raw").write_bytes(as_type(noise(20_000, rms=rms), name))
    with pytest.raises(CaptureError, match=r"raw are no complex float32 numbers.*--sample-type ci16"):
        open_samples(tmp_path / "raw")


def test_files_that_are_no_samples(tmp_path):
    meta = record(tmp_path, as_type(noise(9), "ci16"), datatype="ci16_le")
    (tmp_path / "copy.json").write_bytes(meta.read_bytes())
    (tmp_path / "a.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(100))
    for name, words in (
        ("copy.json", "no complex float32"),
        ("a.wav", "WAV file.*sigmf_convert"),
        ("none", "no file"),
    ):
        with pytest.raises(CaptureError, match=words):
            open_samples(tmp_path / name)


@pytest.mark.parametrize(
    "samples", [np.zeros(9000, np.complex64), noise(9000, rms=1e-6), noise(9000, rms=100)]
)
def test_floats_are_taken_for_floats(tmp_path, samples):
    (tmp_path / "raw").write_bytes(samples.tobytes())
    assert np.array_equal(all_of(open_samples(tmp_path / "raw")), samples)


def test_numbers_that_are_none_are_counted(tmp_path):
    samples = noise(5000)
    samples[[7, 8, 4000]] = np.nan, np.inf, 1e30
    (tmp_path / "raw").write_bytes(samples.tobytes())
    file = open_samples(tmp_path / "raw")
    assert np.array_equal(np.flatnonzero(all_of(file) == 0), [7, 8, 4000]) and file.counters[BAD] == 3


# --- where samples lie -------------------------------------------------------------------------------------


def test_headers_between_segments_trailing_bytes_and_another_name(tmp_path):
    samples = noise(700)
    data = as_type(samples, "ci16")
    parts = [b"H" * 100, data[:400], b"h" * 36, data[400:2000], data[2000:], b"trailer"]
    captures = [
        {"core:sample_start": 1500, "core:frequency": 2e9},
        {"core:sample_start": 1000, "core:header_bytes": 100, "core:frequency": 1e9},
        {"core:sample_start": 1100, "core:header_bytes": 36},
    ]
    fields = {"datatype": "ci16_le", "trailing_bytes": 7, "dataset": "made by.x", "offset": 1000}
    meta = record(tmp_path, b"", captures=captures, **fields)
    (tmp_path / "made by.x").write_bytes(b"".join(parts))
    file = open_samples(meta)
    np.testing.assert_allclose(all_of(file), samples, atol=1e-4)
    assert file.centre_frequency_hz == 1e9
    assert "tuned 2 times" in file.notes[0]


def test_channels(tmp_path):
    both = [noise(400, seed) for seed in (1, 2)]
    meta = record(
        tmp_path, as_type(np.stack(both, 1).reshape(-1), "ci16"), datatype="ci16_le", num_channels=2
    )
    with pytest.raises(CaptureError, match=r"holds 2 channels: choose one, --channel 0 to 1"):
        open_samples(meta)
    with pytest.raises(CaptureError, match="no channel 2"):
        open_samples(meta, channel=2)
    for number, samples in enumerate(both):
        np.testing.assert_allclose(all_of(open_samples(meta, channel=number)), samples, atol=1e-4)


@pytest.mark.parametrize("how", ["tar", "gz", "zip", "collection"])
def test_archives_and_collections(tmp_path, how):
    both, metas = [noise(40_000, seed) for seed in (3, 4)], []
    for number, samples in enumerate(both):
        data = as_type(samples, "ci16")
        metas.append(record(tmp_path, data, f"part{number}", datatype="ci16_le", sample_rate=2e6))
    files = [file for meta in metas for file in (meta, meta.with_suffix(".sigmf-data"))]
    if how == "collection":
        path = tmp_path / "all.sigmf-collection"
        streams = [{"name": meta.name.removesuffix(".sigmf-meta"), "hash": ""} for meta in metas]
        path.write_text(json.dumps({"collection": {"core:streams": streams}}))
    elif how == "zip":
        path = tmp_path / "all.sigmf.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in files:
                packed.write(file, f"all/{file.name}")
    else:
        path = tmp_path / ("all.sigmf" if how == "tar" else "all.sigmf.gz")
        with tarfile.open(path, "w" if how == "tar" else "w:gz") as packed:
            for file in files:
                packed.add(file, f"all/{file.name}")
    with pytest.raises(CaptureError, match="2 channels"):
        open_samples(path)
    for number, samples in enumerate(both):
        file = open_samples(path, channel=number)
        assert file.sample_rate_hz == 2e6
        np.testing.assert_allclose(file.at(35_000, 900), samples[35_000:35_900], atol=1e-4)
        np.testing.assert_allclose(file.at(30_000, 6000), samples[30_000:36_000], atol=1e-4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(CaptureError):
        all_of(open_samples(path, channel=1))


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"datatype": "cf16_le"}, "there.sigmf-meta: sample type 'cf16_le'"),
        ({"datatype": None}, "does not say of what type"),
        ({"num_channels": 0}, "num_channels is 0"),
        ({"num_channels": "two"}, "num_channels is 'two', not a whole number"),
        ({"sample_rate": "fast"}, "sample_rate is 'fast'"),
        ({"sample_rate": -1}, "sample_rate is '-1'"),
        ({"dataset": "../../etc/passwd"}, "a name without a folder"),
        ({"dataset": "gone"}, "gone is missing"),
        ({"trailing_bytes": 10**6}, "not a single sample"),
        ({"offset": -3}, "offset is '-3'"),
    ],
)
def test_metadata_that_cannot_be_used(tmp_path, fields, words):
    meta = record(tmp_path, bytes(800), **{"datatype": "cf32_le", **fields})
    with pytest.raises(CaptureError, match=words):
        open_samples(meta)


def test_a_type_beside_metadata_is_refused(tmp_path):
    with pytest.raises(CaptureError, match="says itself"):
        open_samples(record(tmp_path, bytes(800), datatype="cf32_le"), "ci16")


def test_metadata_as_programs_write_them(tmp_path):
    samples = noise(300)
    meta = record(tmp_path, as_type(samples, "ci16"))
    info = '{"core:datatype": "ci16_le", "core:sample_rate": 1000000, "core:num_channels": 1.0, "core:offset": 0.0}'
    capture = (
        '{"core:sample_start": 0.0, "core:frequency": NaN, "core:datetime": "2024-05-01T00:00:00.1234567"}'
    )
    text = f'{{"global": {info}, "captures": [{capture}]}}'
    for data in (b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16")):
        meta.write_bytes(data)
        file = open_samples(meta)
        np.testing.assert_allclose(all_of(file), samples, atol=1e-4)
        assert file.centre_frequency_hz is None and file.first_s == pytest.approx(
            1714521600.1234567, abs=1e-6
        )


@pytest.mark.parametrize(
    "captures", ["{}", "null", '{"core:sample_start": 0, "core:frequency": 5}', "absent"]
)
def test_captures_that_are_no_list(tmp_path, captures):
    meta = record(tmp_path, as_type(noise(300), "ci16"))
    text = f'{{"global": {{"core:datatype": "ci16_le"}}, "captures": {captures}}}'
    meta.write_text(text.replace(', "captures": absent', ""))
    assert open_samples(meta).count == 300


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("1970-01-01T00:00:10Z", 10),
        ("1970-01-01T00:00:10", 10),
        ("1970-01-01 00:00:10.5", 10.5),
        ("1970-01-01T01:00:10+0100", 10),
        ("1970-01-01T00:00:10.123456789Z", 10.123456789),
        ("1970-13-01T00:00:10Z", None),
        ("yesterday", None),
        (7, None),
        (None, None),
    ],
)
def test_dates(text, seconds):
    assert utc_seconds(text) == seconds


# --- sample rates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [2e6, 1.25e6, 8e5, 1e6 / 3, 1e6 * (1 + 3e-5), 2e7])
def test_another_sample_rate(tmp_path, rate):
    """Tones within 0.94 of the narrower band come out with the phase that they must have, those beyond it do not."""
    count, band = int(6000 * rate / 1e6), min(rate, 1e6)
    tones = np.array([-0.46, -0.1, 0.003, 0.25, 0.465]) * band
    beyond = [0.56 * band, -0.9 * rate / 2] if rate > 1.3e6 else []
    at = np.arange(count) / rate
    (tmp_path / "raw.cf64").write_bytes(np.exp(2j * np.pi * np.outer(at, [*tones, *beyond])).sum(1).tobytes())
    file = open_samples(tmp_path / "raw.cf64")
    file.sample_rate_hz = rate
    stream = SampleStream(file, 1e6)
    assert abs(stream.count - 6000) <= 1 / min(1, rate / 1e6)
    got = stream.at(0, stream.count)
    inner = slice(200, -200)
    expected = np.exp(2j * np.pi * np.outer(np.arange(stream.count) / 1e6, tones)).sum(1)
    error = np.abs(got - expected)[inner]
    assert 20 * np.log10(np.sqrt(np.mean(error**2) / len(tones))) < -55
    for first, piece in ((0, 50), (3000, 777), (stream.count - 9, 30)):
        part = stream.at(first, piece)
        whole = np.concatenate([got, np.zeros(100, np.complex64)])[first : first + piece]
        np.testing.assert_allclose(part[: stream.count - first], whole[: stream.count - first], atol=1e-6)


def test_real_samples_lie_around_a_quarter_of_their_rate(tmp_path):
    at, tones = np.arange(20_000) / 4e6, np.array([-3e5, 1e5, 4.1e5])
    signal = 0.2 * np.exp(2j * np.pi * np.outer(at, tones)).sum(1)
    real = np.real(signal * np.exp(2j * np.pi * 1e6 * at))
    meta = record(tmp_path, as_type(real.astype(complex), "ri16"), datatype="ri16_le", sample_rate=4e6)
    stream = SampleStream(open_samples(meta), 1e6)
    got, expected = stream.at(0, stream.count)[100:-100], signal[::4][100:-100] / 2
    assert np.abs(got - expected).max() < 0.004 and "real samples" in stream.file.notes[0]
    with pytest.raises(CaptureError, match="needs twice as many"):
        SampleStream(open_samples(meta), 3e6)


def test_rates_that_are_too_far_apart(tmp_path):
    meta = record(tmp_path, bytes(8000), datatype="cf32_le", sample_rate=1e9)
    with pytest.raises(CaptureError, match="resample it first"):
        SampleStream(open_samples(meta), 1e6)


# --- anything at all ------------------------------------------------------------------------------------------

WHOLE = json.dumps(
    {
        "global": {
            "core:datatype": "ci16_le",
            "core:sample_rate": 1e6,
            "core:num_channels": 1,
            "core:offset": 5,
        },
        "captures": [
            {"core:sample_start": 5, "core:header_bytes": 8, "core:datetime": "2024-05-01T00:00:00Z"}
        ],
        "annotations": [],
    }
).encode()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
core_keys = st.sampled_from(
    [
        f"core:{k}"
        for k in "datatype sample_rate num_channels offset trailing_bytes dataset metadata_only".split()
    ]
)
capture_keys = st.sampled_from([f"core:{k}" for k in "sample_start header_bytes frequency datetime".split()])


def read_or_refuse(meta):
    try:
        file = open_samples(meta)
        SampleStream(file, 1e6).at(0, 100)
    except CaptureError:
        pass


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(WHOLE)),
)
def test_damaged_metadata_raise_nothing_else(tmp_path_factory, changes, cut):
    meta = record(tmp_path_factory.mktemp("m"), bytes(4000))
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    meta.write_bytes(data[:cut] if cut % 3 == 0 else data)
    read_or_refuse(meta)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(core_keys, values, max_size=4),
    st.lists(st.dictionaries(capture_keys, values, max_size=3) | values, max_size=3),
)
@pytest.mark.slow
def test_strange_metadata_raise_nothing_else(tmp_path_factory, info, captures):
    meta = record(tmp_path_factory.mktemp("m"), bytes(4000))
    fields = {"global": {"core:datatype": "cu8", **info}, "captures": captures}
    meta.write_text(json.dumps(fields))
    read_or_refuse(meta)
