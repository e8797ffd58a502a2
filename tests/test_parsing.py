# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML and JSON as untrusted peers write them: the values, or a short sentence, at once and in little memory."""

import json
import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from semcom import settings
from semcom.air.script import load_script
from semcom.capture.journal import read_journal
from semcom.capture.sent_log import SentLog
from semcom.errors import ConfigError, ModelError, SemcomError
from semcom.parsing import (
    MAX_DEPTH,
    MAX_YAML_VALUES,
    ParseError,
    did_you_mean,
    parse_json,
    parse_yaml,
    read_text,
    shown,
)
from semcom.radio import load_link
from semcom.radio.device import load_device
from semcom.system.card import read_card
from semcom_training.multiuser.experiment import load_experiment
from semcom_training.recipe import load_recipe


def laughs(levels: int) -> str:
    """A few aliases a line, each of the line before: 9^levels values."""
    names = string.ascii_lowercase
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip(names, names[1 : levels + 1])]
    return "\n".join(lines)


YAML = {
    "a date of no month": ("gap: 2001-99-99", "is no timestamp"),
    "5,000 digits": ("gap: " + "9" * 5000, "a number or date of 5000 characters"),
    "400 digits": ("gap: " + "9" * 400, "a number or date of 400 characters"),
    "a number to the base of 60": ("gap: 1" + ":1" * 10_000, "a number or date of"),
    "5,000 brackets": ("gap: " + "[" * 5000, "nested more than"),
    "5,000 indents": ("- " * 5000, "nested more than"),
    "no float": ("gap: !!float abc", "'abc' is no float"),
    "no boolean": ("gap: !!bool abc", "'abc' is no bool"),
    "no whole number": ('gap: !!int ""', "'' is no int"),
    "aliases of aliases": (laughs(9), "values, aliases counted"),
    "an alias of itself": ("gap: &a [*a]", "an alias of something that it is part of"),
    "a mapping within itself": ("gap: &a {x: *a}", "an alias of something that it is part of"),
    "many values": ("[" + "1," * 2 * MAX_YAML_VALUES + "]", "more than"),
    "a call": ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
    "half a character": (r'gap: "\ud800"', "half a character"),
    "a long tag": ("gap: !<" + "x" * 50_000 + "> 1", "could not determine"),
    "a key that is a list": ("? [a]\n: b", "unhashable"),
}


@pytest.mark.parametrize("text, words", YAML.values(), ids=YAML)
def test_yaml_that_blows_up_is_refused_in_a_sentence(text, words):
    with pytest.raises(ParseError, match=words) as error:
        parse_yaml(text)
    assert len(str(error.value)) < 500 and str(error.value).isprintable()


@pytest.mark.parametrize("text", [text for text, _ in YAML.values()], ids=YAML)
@pytest.mark.parametrize("load", [load_link, load_device, load_script, load_recipe, load_experiment])
def test_every_reader_of_yaml_refuses_it_with_the_files_name(load, text, tmp_path):
    file = tmp_path / "given.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="given.yaml") as error:
        load(str(file))
    assert len(str(error.value)) < 1000


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(), st.lists, max_leaves=8
    )
)
def test_ordinary_yaml_is_what_pyyaml_reads(value):
    text = yaml.safe_dump(value)
    assert parse_yaml(text) == yaml.safe_load(text)


def test_anchors_and_merges_of_ordinary_size_are_read():
    text = "calm: &calm {snr_db: 20}\nlate: {<<: *calm, delay: 3}\nagain: *calm"
    assert parse_yaml(text) == yaml.safe_load(text)


JSON = {
    "infinity": ("[Infinity]", "Infinity is no number"),
    "beyond a float": ("[1e999]", "larger than any number"),
    "5,000 digits": ("9" * 5000, "a number of 5000 digits"),
    "400 digits": ("9" * 400, "a number of 400 digits"),
    "900 levels": ("[" * 900 + "]" * 900, f"more than {MAX_DEPTH} levels"),
    "100,000 levels": ('{"a":' * 100_000, f"more than {MAX_DEPTH} levels"),
    "half a character": (r'"\uD800"', "half a character"),
    "nothing": ("", "is not JSON"),
}


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("text, words", JSON.values(), ids=JSON)
def test_json_that_json_takes_and_we_do_not(text, words, as_bytes):
    with pytest.raises(ParseError, match=words) as error:
        parse_json(text.encode() if as_bytes else text)
    assert len(str(error.value)) < 500


@given(st.recursive(st.none() | st.booleans() | st.floats(-1e300, 1e300) | st.text(), st.lists, max_leaves=8))
def test_ordinary_json_is_read_as_it_is(value):
    assert parse_json(json.dumps(value)) == value


def test_an_emoji_is_two_halves_that_belong_together():
    assert parse_json(json.dumps("\U0001f600")) == "\U0001f600"


@pytest.mark.parametrize("text", [text for text, _ in JSON.values()], ids=JSON)
def test_cards_journals_and_logs_refuse_it(text, tmp_path):
    for name in ("card.json", "journal", "log"):
        (tmp_path / name).write_text(text + "\n")
    with pytest.raises(ModelError, match="card.json"):
        read_card(tmp_path / "card.json")
    assert read_journal(tmp_path / "journal") == []
    log = SentLog(tmp_path / "log")
    assert log.find(3, None, None) is None and log.bad_lines == 1


@pytest.mark.parametrize(
    "line",
    [
        '{"image_id": Infinity, "image": "a"}',
        '{"image_id": 1e999, "image": "a"}',
        '{"image_id": 70000, "image": "a"}',
        '{"image_id": "1' + "0" * 5000 + '", "image": "a"}',
        '{"image_id": 1, "image": "a", "sent_utc": "2001-99-99"}',
        '{"image_id": 1, "image": "a", "model": [1]}',
    ],
)
def test_a_bad_line_of_a_log_is_counted_and_the_next_is_read(line, tmp_path):
    path = tmp_path / "log"
    path.write_text(line + '\n{"image_id": 3, "image": "good", "path": 7}\n')
    log = SentLog(path)
    assert (log.find(3, None, None).name, log.find(3, None, None).path, log.bad_lines) == ("good", None, 1)


LONG = "x" * 300


@pytest.mark.parametrize(
    "name",
    [LONG, f"{LONG}.yaml", f"{LONG}/a.yaml", "a\0b.yaml", "~no_such_user/x.yaml"],
    ids=["stem", "file", "folder", "zero", "user"],
)
def test_names_that_no_file_can_have(name):
    for read in (load_link, load_device, load_script, load_recipe, load_experiment, read_card):
        with pytest.raises(SemcomError) as error:
            read(name)
        assert len(str(error.value)) < 1500


def test_files_that_are_no_texts(tmp_path):
    (tmp_path / "big").write_bytes(b"#" * 2000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfname: a")
    for name, words in (
        ("big", "larger than"),
        ("binary", "as text"),
        ("none", "is no file"),
        (".", "is no file"),
    ):
        with pytest.raises(ParseError, match=words):
            read_text(tmp_path / name, 1000)
    assert read_text(tmp_path / "marked", 1000) == "name: a"


def test_what_an_error_shows_is_short():
    deep = [1]
    for _ in range(30):
        deep = [deep] * 9  # 9^30 values
    for value in (deep, "x" * 10**6, 10**5000, {i: i for i in range(10**5)}, "a\nb\x1b[31m"):
        assert len(shown(value)) < 500 and shown(value).isprintable()
    with pytest.raises(ConfigError) as error:
        settings.require("here", key=(deep, False, "less"))
    assert len(str(error.value)) < 500


def test_only_a_near_name_is_suggested():
    assert did_you_mean("loopbak", ["loopback", "air"]) == ": did you mean 'loopback'?"
    assert did_you_mean("zzz", ["loopback", "air"]) == "."
    assert did_you_mean(7, []) == "."
