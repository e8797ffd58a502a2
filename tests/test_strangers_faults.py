# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stranger's plugins, recipes and options can get wrong is said in words that name it."""

import json
from functools import partial

import pytest
import torch
from typer.testing import CliRunner

from semcom import parsing, plugins, settings
from semcom.channel.named import NamedChannel, register_channel
from semcom.channel.symbols import symbol_channel
from semcom.cli import options
from semcom.cli.examination import models
from semcom.cli.main import app
from semcom.errors import ConfigError, PluginError
from semcom.experiments import runner
from semcom_training.channels import channel
from semcom_training.losses import loss, register_loss
from semcom_training.recipe import make_recipe


@pytest.mark.parametrize(
    "values",
    [
        {"delay_samples": 10**9},
        {"delay_samples": "4"},
        {"delay_samples": -5},
        {"delay_samples": 1.5},
        {"doppler": float("nan")},
        {"doppler": 1e9},
        {"noisy": "no"},
    ],
)
def test_a_channel_that_cannot_be_is_refused_where_it_is_registered(values):
    with pytest.raises(ConfigError, match=f"NamedChannel: {next(iter(values))} must be"):
        NamedChannel(**values)


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (lambda x, s, g=None: (x * float("nan"), torch.ones(x.shape)), "symbols that are not numbers"),
        (lambda x, s, g=None: (x, torch.full(x.shape, float("nan"))), "no variance"),
        (lambda x, s, g=None: (x[:, :-1], torch.ones(3)), r"received of shape \[2, 3\]"),
        (lambda x, s, g=None: x, "must give two tensors"),
    ],
)
def test_a_channel_that_gives_no_numbers_is_named(fresh_plugins, law, words):
    register_channel("nanny", law)
    latents = torch.ones(2, 4, dtype=torch.complex64)
    for send in (symbol_channel("nanny"), channel("nanny", 0.5)):
        with pytest.raises(ConfigError, match=f"channel 'nanny' .*{words}"):
            send(latents, torch.tensor([5.0, 5.0]), torch.Generator())


def test_a_key_twice_is_refused_with_its_lines():
    with pytest.raises(parsing.ParseError, match="key 'b' twice, in line 3 and in line 4"):
        parsing.parse_yaml("a:\n  c: 1\n  b: 1\n  b: 2\n")
    with pytest.raises(parsing.ParseError, match=r"key 'b' twice in one object .*line 2, 3\)"):
        parsing.parse_json('{"a": 1,\n"b": 1,\n"b": 2}')
    assert parsing.parse_yaml("a: {b: 1}\nc: {b: 2}") == parsing.parse_json('{"a": {"b": 1}, "c": {"b": 2}}')


def test_losses_give_one_number_and_take_what_their_options_are(fresh_plugins):
    register_loss("soft")(lambda decoded, images, eps=1e-3: (decoded - images).square())
    pictures = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ConfigError, match=r"loss 'soft' must give one number.*\[2, 3, 8, 8\]"):
        loss("soft")(pictures, pictures)
    for wrong in ("x", True, [1]):
        with pytest.raises(ConfigError, match="loss 'soft': 'eps' must be a number"):
            loss({"soft": {"weight": 1, "eps": wrong}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class A(BaseException): pass\nraise A('x')\n", r"A: x \(line 2\)"),
        ("x = 1\n\0", r"null bytes\.$"),
    ],
)
def test_a_plugin_that_raises_anything_is_one_sentence(fresh_plugins, tmp_path, text, words):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(PluginError, match=words):
        plugins.load(tmp_path / "bad.py")


def test_a_plugin_that_fails_while_it_runs_is_one_sentence(fresh_plugins, tmp_path, monkeypatch):
    file = tmp_path / "boom.py"
    file.write_text("def boom():\n    return 1 / 0\n")
    boom = plugins.load(file).boom
    monkeypatch.setattr("semcom.system.zoo.names", boom)
    done = CliRunner().invoke(app, ["models"])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    with pytest.raises(ZeroDivisionError) as error:
        boom()
    assert (
        str(plugins.fault(error.value))
        == f"plugin {file} fails: ZeroDivisionError: division by zero (line 2)."
    )


@pytest.mark.parametrize("command", [["models"], ["grc", "--compile", "loopback"]])
def test_a_broken_plugin_ends_every_command_that_takes_plugins(fresh_plugins, tmp_path, command):
    (tmp_path / "imp.py").write_text("import nosuchthing\n")
    fresh_plugins.setenv("SEMCOM_PLUGINS", str(tmp_path / "imp.py"))
    assert CliRunner().invoke(app, command).exit_code == 1
    (finding,) = models()
    assert "imp.py does not import" in finding.found and "unset SEMCOM_PLUGINS" in finding.cure


def test_a_cell_of_another_measurement_is_not_taken_for_it(tmp_path):
    cell = runner.Cell("a")
    plan = runner.Experiment("e", lambda cell, x: x, [cell], {"x": 1})
    other = runner.Experiment("e", lambda cell, x: x, [cell], {"x": 2})
    runner.get(plan, cell, tmp_path)
    plan.path(cell, tmp_path).rename(other.path(cell, tmp_path))
    with pytest.raises(ConfigError, match="another measurement .other settings.: delete it"):
        runner.get(other, cell, tmp_path)
    with pytest.raises(runner.CellsFailed) as error:
        runner.results(runner.run(other, tmp_path))
    assert ".." not in str(error.value).replace("...", "")
    assert json.loads(other.path(cell, tmp_path).read_text())["result"] == 1


def test_words_speak_of_what_was_typed():
    recipe = {"version": 2, "name": "a", "model": {"architecture": "linres"}, "data": {"folders": ["x"]}}
    make = partial(make_recipe, source="r")
    for values, words in (
        ({k: v for k, v in recipe.items() if k != "version"}, "'version' is missing.*'version: 2'"),
        (
            recipe | {"told": {"snr_db": {"low": 5, "high": 1}}},
            "'told.snr_db.high' must be at least the lowest",
        ),
        (recipe | {"channel": {"name:modem": None}}, "a space after each colon"),
    ):
        with pytest.raises(ConfigError, match=words):
            make(values)
    with pytest.raises(ConfigError, match="--set bits_per_latent is of quantised.*--set order=16"):
        options.chosen_payload(["bits_per_latent=4"], {})
    with pytest.raises(ConfigError, match="--bits-per-latent is of quantised.*--order 16"):
        options.chosen_payload([], {"bits_per_latent": 4})
    with pytest.raises(ConfigError, match="'sample_rate_hz' is nan, but must be a finite number"):
        settings.make(__import__("semcom.radio").radio.LinkProfile, {"sample_rate_hz": float("nan")}, "r")
