# SPDX-License-Identifier: GPL-3.0-or-later
"""A researcher's own files: found by flag, variable and entry point, read once, their faults in one sentence."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from semcom import plugins
from semcom.channel.named import CHANNELS
from semcom.codec import ARCHITECTURES, DECODERS, Codec, Decoder, build, register_architecture
from semcom.errors import ConfigError, ModelError, PluginError
from semcom.registering import Registry
from semcom.system import zoo

CODEC = """
from semcom.codec import Codec, register_architecture

@register_architecture("{name}")
class Mine(Codec):
    def __init__(self, snr_range_db=(0, 20)):
        super().__init__(2, 4, snr_range_db)
"""


def semcom(*arguments, named="", **environment):
    """A command in a process of its own: exit status, and what it said in one line."""
    done = subprocess.run(
        [sys.executable, "-c", "from semcom.cli.main import app; app()", *map(str, arguments)],
        env=os.environ | {"SEMCOM_PLUGINS": str(named), "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_file_is_read_once_whatever_names_it(fresh_plugins, tmp_path):
    file, count = tmp_path / "mine.py", tmp_path / "count"
    (tmp_path / "beside.py").write_text("NAME = 'of-mine'\n")
    file.write_text(
        f"import beside\nopen({str(count)!r}, 'a').write('.')\n"
        + CODEC.format(name="mine")
        + "assert beside.NAME"
    )
    (tmp_path / "link.py").symlink_to(file)
    plugins.use([file, tmp_path / "link.py"])
    assert plugins.load(file) is plugins.load(tmp_path / "link.py")
    assert os.environ["SEMCOM_PLUGINS"] == str(file)
    assert build("mine", {}).name == "mine" and count.read_text() == "."
    assert list(ARCHITECTURES)[-1] == "mine" and "mine" not in DECODERS


def test_the_variable_names_several_and_lookup_reads_them(fresh_plugins, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(CODEC.format(name=name))
    fresh_plugins.setenv(
        "SEMCOM_PLUGINS", os.pathsep.join(str(tmp_path / f"{name}.py") for name in ("one", "two"))
    )
    assert {"one", "two"} <= set(ARCHITECTURES) and build("two", {}).stride == 4


def test_an_entry_point_is_read_and_its_fault_is_named(fresh_plugins, tmp_path):
    def points(*, group):
        assert group == "semcom.plugins"
        return [
            SimpleNamespace(
                name="lab", value="lab.codecs", load=lambda: ARCHITECTURES.add("lab", Codec, ("f", 1))
            )
        ]

    fresh_plugins.setattr(importlib.metadata, "entry_points", points)
    assert "lab" in ARCHITECTURES
    fresh_plugins.setattr(plugins, "_entry_points", False)
    broken = SimpleNamespace(name="lab", value="lab.codecs", load=lambda: {}["x"])
    fresh_plugins.setattr(importlib.metadata, "entry_points", lambda group: [broken])
    for _ in range(2):
        with pytest.raises(
            PluginError, match=r"plugin 'lab' \(lab.codecs\).*KeyError: 'x' \(line \d+ of .*test_plugins"
        ):
            "lab" in CHANNELS  # noqa: B015


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ny = nope\n", r"NameError: name 'nope' is not defined \(line 2\)"),
        ("def f():\n    1 / 0\nf()\n", r"ZeroDivisionError: division by zero \(line 2\)"),
        ("x = 1\nx = (\n", r"SyntaxError: .*line 2"),
        ("import no_such_thing\n", r"ModuleNotFoundError: No module named 'no_such_thing' \(line 1\)"),
        ("import sys\nsys.exit('over')\n", r"SystemExit: over \(line 2\)"),
        ("import json\njson.loads('[')\n", r"JSONDecodeError: .* \(line 2\)"),
        (
            CODEC.format(name="linres"),
            r"architecture 'linres' is registered twice.*linres\.py .*bad\.py \(line 4\)",
        ),
        (CODEC.format(name="conv"), r"decoder family 'conv' is registered twice"),
        (
            CODEC.format(name="m").replace("(Codec)", ""),
            r"must be a class that is derived from semcom.codec.Codec",
        ),
        (
            "from semcom.channel.named import *\nregister_channel('x', 3)\n",
            "must be a NamedChannel or a function, not 3",
        ),
    ],
)
def test_a_plugin_that_does_not_import_is_one_sentence(fresh_plugins, tmp_path, text, words):
    file = tmp_path / "bad.py"
    file.write_text(text)
    for _ in range(2):  # the second time no less
        with pytest.raises(PluginError) as error:
            plugins.load(file)
        assert re.search(words, str(error.value)) and str(file) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_command_ends_with_status_1_and_no_traceback(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("x = 1\ny = nope\n")
    sentence = f"Error: plugin {bad} does not import: NameError: name 'nope' is not defined (line 2)."
    assert semcom("models", "--plugin", bad) == (1, sentence)
    assert semcom("loopback", "--no-radio", "any.png", named=bad) == (1, sentence)
    absent = tmp_path / "absent.py"
    assert semcom("evaluate", "--data", tmp_path, "--plugin", absent)[1].startswith(
        f"Error: there is no plugin {absent}"
    )
    train = subprocess.run(
        [sys.executable, "-m", "semcom_training.train", "cifar-1-6", "--plugin", bad],
        capture_output=True,
        text=True,
    )
    assert train.returncode == 1 and "(line 2)" in train.stderr and "Traceback" not in train.stderr


def test_a_name_twice_names_both_places():
    registry = Registry("thing")
    registry.add("a", 1, ("x.py", 3))
    registry.add("a", 2, ("x.py", 3))  # the same line again: the file was read anew
    assert registry["a"] == 2
    with pytest.raises(
        ConfigError, match=r"thing 'a' is registered twice, in x.py \(line 3\) and in y.py \(line 4\)"
    ):
        registry.add("a", 3, ("y.py", 4))
    with pytest.raises(ConfigError, match="is text such as 'mine', not None"):
        registry.add(None, 3, ("y.py", 4))


def test_what_only_decodes_is_a_family(fresh_plugins):
    @register_architecture("mine")
    class Mine(Decoder):
        pass

    assert DECODERS["mine"] is Mine and "mine" not in ARCHITECTURES


def test_a_card_runs_nothing_and_says_what_may_be_missing(tiny_model, tmp_path):
    (tmp_path / "mine.py").write_text("raise SystemExit('a card ran me')")
    card = json.loads(tiny_model.read_text()) | {"architecture": "mine"}
    (tmp_path / "tiny.json").write_text(json.dumps(card))
    (tmp_path / "tiny.safetensors").write_bytes(tiny_model.with_suffix(".safetensors").read_bytes())
    with pytest.raises(
        ModelError, match="unknown architecture 'mine'.*from a plugin.*--plugin FILE.*SEMCOM_PLUGINS"
    ):
        zoo.load(tmp_path / "tiny.json")
