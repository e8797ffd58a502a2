# SPDX-License-Identifier: GPL-3.0-or-later
"""How recipes are written: version 2, in sections, and the flat version 1, which is read by upgrading it.

python -m semcom_training.recipe_form FILE.yaml ...     rewrites recipes of version 1, their comments kept
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from semcom import files, parsing
from semcom.errors import ConfigError
from semcom.parsing import did_you_mean, shown

VERSION = 2
#: a field of ``semcom_training.recipe.Recipe``, which was a key of version 1, to its place in version 2
PLACES = {
    "name": "name",
    "licence": "licence",
    "architecture": "model.architecture",
    "arguments": "model.arguments",
    "anchor": "model.encoder",
    "init_from": "model.init_from",
    "start": "model.start",
    "frozen": "model.frozen",
    "data": "data.folders",
    "exclude": "data.exclude",
    "crop": "data.crop",
    "shift": "data.shift",
    "held_out": "data.held_out",
    "snr_db": "told.snr_db",
    "snr_low_db": "told.snr_db.low",
    "snr_high_db": "told.snr_db.high",
    "snr_skew": "told.snr_db.skew",
    "snr_of": "told.snr_of",
    "stale_fraction": "told.stale_fraction",
    "rates": "told.rates",
    "channel": "channel",
    "uneven_fraction": "channel.uneven_fraction",
    "orders": "channel.orders",
    "side_lost_fraction": "channel.side_lost_fraction",
    "loss": "loss",
    "loss_floor": "loss.log-mse.floor",
    "optimiser": "optimiser.name",
    "learning_rate": "optimiser.learning_rate",
    "outer_rate": "optimiser.outer_rate",
    "weight_decay": "optimiser.weight_decay",
    "clip": "optimiser.clip",
    "ema": "optimiser.ema",
    "batch": "schedule.batch",
    "steps": "schedule.steps",
    "max_minutes": "schedule.max_minutes",
    "warmup_steps": "schedule.warmup_steps",
    "decay_fraction": "schedule.decay_fraction",
    "log_every": "schedule.log_every",
    "checkpoint_minutes": "schedule.checkpoint_minutes",
    "stage": "train",
    "seed": "seed",
    "stages": "stages",
}
#: what a recipe of version 2 holds, in the order in which it is written
SECTIONS = (
    "version", "name", "licence", "model", "data", "told", "channel", "loss", "optimiser", "schedule", "train",
    "stages", "seed",
)  # fmt: skip
_TRAINED = {"anchor": ["encoder", "decoder"], "user": ["decoder"]}
_OF_CHANNEL = ("uneven_fraction", "orders", "side_lost_fraction")


def upgraded(values: Mapping, source: str = "recipe") -> dict:
    """The keys of a recipe of version 1 as version 2.

    Raises:
        ConfigError: a key that version 1 did not have (the nearest is suggested), or one that version 2 cannot say.
    """
    newer = next((key for key in values if key in SECTIONS and key not in PLACES), None)
    if newer:
        raise ConfigError(
            f"{source}: 'version' is missing: '{newer}' is of version {VERSION}: write 'version: {VERSION}' on top."
        )
    out: dict[str, Any] = {"version": VERSION}
    for key, value in values.items():
        if key not in PLACES:
            raise ConfigError(f"{source}: unknown key {shown(key)}{did_you_mean(key, PLACES)}")
        if key == "stage":
            if not isinstance(value, str) or value not in _TRAINED:
                raise ConfigError(f"{source}: 'stage' must be anchor or user, not {shown(value)}.")
            out["train"] = list(_TRAINED[value])
        elif key == "channel":
            own = dict(value) if isinstance(value, Mapping) else {"name": value}
            taken = next((name for name in _OF_CHANNEL if name in own), None)
            if taken:
                raise ConfigError(
                    f"{source}: 'channel': channel {own.get('name')!r} takes no option {taken!r}."
                )
            out.setdefault("channel", {}).update(own)
        elif key == "loss":
            out["loss"] = dict(value) if isinstance(value, Mapping) else value
        elif key not in ("loss_floor", "snr_low_db", "snr_high_db", "snr_skew"):
            _put(out, PLACES[key], value)
    _upgrade_loss(values, out, source)
    _upgrade_snr(values, out, source)
    return {key: out[key] for key in SECTIONS if key in out}


def _upgrade_loss(values: Mapping, out: dict, source: str) -> None:
    if "loss" in out and isinstance(out["loss"], str):
        out["loss"] = {out["loss"]: 1}
    floor = values.get("loss_floor")
    # what it is where nothing is said; older checkpoints and cards say it always
    if floor is None or floor == 3e-5:
        return
    losses = out.setdefault("loss", {"log-mse": 1})
    if not isinstance(losses, dict) or "log-mse" not in losses:
        raise ConfigError(
            f"{source}: 'loss_floor' is of log-mse, which 'loss' does not name, and version 2 cannot say it: leave it "
            f"out."
        )
    weight = losses["log-mse"]
    losses["log-mse"] = {**(weight if isinstance(weight, Mapping) else {"weight": weight}), "floor": floor}


def _upgrade_snr(values: Mapping, out: dict, source: str) -> None:
    if values.get("snr_db"):  # a list goes before the range, which was not looked at then
        return
    if "snr_db" in out.get("told", {}) and out["told"]["snr_db"] == []:
        del out["told"]["snr_db"]
    parts = {"low": "snr_low_db", "high": "snr_high_db", "skew": "snr_skew"}
    range_db = {part: values[key] for part, key in parts.items() if key in values}
    if range_db:
        out.setdefault("told", {})["snr_db"] = range_db


def flattened(values: Mapping, source: str = "recipe") -> dict:
    """A recipe of version 2 as the fields of ``Recipe``, not yet checked but for their names.

    Raises:
        ConfigError: another version, a section that is none, or an unknown key, each with its place.
    """
    if values.get("version") != VERSION:
        raise ConfigError(
            f"{source}: 'version' must be {VERSION}, or left out of a flat one, not {shown(values.get('version'))}."
        )
    out: dict[str, Any] = {"arguments": {}}
    for key, value in values.items():
        if key not in SECTIONS:
            raise ConfigError(f"{source}: unknown key {shown(key)}{did_you_mean(key, SECTIONS)}")
        if key == "version":
            continue
        if key in ("model", "data", "told", "optimiser", "schedule"):
            out |= _section(key, value, source)
        elif key == "channel":
            out |= _channel(value)
        elif key == "train":
            out["stage"] = _stage(value, source)
        elif key == "loss" and isinstance(value, str):
            out["loss"] = {value: 1}
        else:
            out[key] = value
    return out


def _section(name: str, values, source: str) -> dict:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: '{name}' must be a list of 'key: value' lines, not {shown(values)}.")
    fields = {place: field for field, place in PLACES.items() if place.count(".") == 1}
    there, out = [place.partition(".")[2] for place in fields if place.startswith(f"{name}.")], {}
    for key, value in values.items():
        if key not in there:
            raise ConfigError(f"{source}: unknown key {shown(f'{name}.{key}')}{did_you_mean(key, there)}")
        if (name, key) == ("told", "snr_db") and isinstance(value, Mapping):
            for part, limit in value.items():
                if part not in ("low", "high", "skew"):
                    raise ConfigError(
                        f"{source}: unknown key {shown(f'told.snr_db.{part}')}: there are low, high and skew, or a list "
                        f"of SNRs."
                    )
                out["snr_skew" if part == "skew" else f"snr_{part}_db"] = limit
        else:
            out[fields[f"{name}.{key}"]] = value
    return out


def _channel(value) -> dict:
    """A name, or a mapping of name, options of that channel, and what every channel takes."""
    if not isinstance(value, Mapping):
        return {"channel": value}
    own = {key: item for key, item in value.items() if key not in _OF_CHANNEL}
    out = {key: value[key] for key in _OF_CHANNEL if key in value}
    if own:
        alone = list(own) == ["name"] and isinstance(own["name"], str)
        out["channel"] = own["name"] if alone else own
    return out


def _stage(value, source: str) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        for stage, trained in _TRAINED.items():
            if sorted(value) == sorted(trained):
                return stage
    raise ConfigError(
        f"{source}: 'train' must be [encoder, decoder], or [decoder] of a decoder behind the encoder of model.encoder, "
        f"not {shown(value)}."
    )


def merged(base: Mapping, changes: Mapping) -> dict:
    """A recipe of version 2 with some of its sections' keys changed, as a stage writes it. Losses are taken whole."""
    out = copy.deepcopy(dict(base))
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping) and key != "loss"
        out[key] = {**out[key], **value} if both else value
    return out


def upgraded_text(text: str, source: str = "recipe") -> str:
    """A file of version 1 as one of version 2: values as they were written, comments above their keys, the head on top.

    Raises:
        ConfigError: no YAML mapping, or as :func:`upgraded`; a file that is of version 2 already.
    """
    try:
        values = parsing.parse_yaml(text)
    except parsing.ParseError as error:
        raise ConfigError(f"{source} {error}.") from error
    if not isinstance(values, dict) or "version" in values:
        raise ConfigError(f"{source} is no flat recipe of version 1: there is nothing to upgrade.")
    head, written, comments = _pieces(text)
    new = upgraded(values, source)
    lines = [*head, f"version: {VERSION}"]
    raw = {PLACES[key]: written[key] for key in values}
    above = {PLACES[key].replace("loss.log-mse.floor", "loss"): notes for key, notes in comments.items()}
    for section, value in new.items():
        if section == "version":
            continue
        lines += above.get(section, [])
        if section in ("model", "data", "told", "channel", "optimiser", "schedule"):
            lines.append(f"{section}:")
            for key, item in value.items():
                place = f"{section}.{key}"
                lines += [f"  {note}" for note in above.get(place, [])]
                lines.append(
                    f"  {key}: {raw.get(place) if place in raw and item is not None else _flow(item)}"
                )
        elif section in raw and section not in ("loss", "train"):
            lines.append(f"{section}: {raw[section]}")
        else:
            lines.append(f"{section}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _pieces(text: str) -> tuple[list[str], dict[str, str], dict[str, list[str]]]:
    """Comments on top, every key's value as it is written (on one line), and the comments of each key."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    lines, written, comments, last = text.splitlines(), {}, {}, 0
    head: list[str] = []
    for number, (key, value) in enumerate(node.value):
        between = [line.strip() for line in lines[last : key.start_mark.line] if line.strip().startswith("#")]
        if number == 0:
            head, between = between, []
        one_line = value.start_mark.line == value.end_mark.line
        written[key.value] = (
            text[value.start_mark.index : value.end_mark.index] if one_line else _flow(parsing.parse_yaml(
                yaml.serialize(value)))
        )  # fmt: skip
        rest = lines[value.end_mark.line][value.end_mark.column :].strip() if one_line else ""
        comments[key.value] = between + ([rest] if rest.startswith("#") else [])
        last = value.end_mark.line + one_line
    return head, written, comments


def _flow(value) -> str:
    """A value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _put(out: dict, place: str, value) -> None:
    section, _, key = place.partition(".")
    if key:
        out.setdefault(section, {})[key] = value
    else:
        out[section] = value


if __name__ == "__main__":
    import typer

    from semcom.errors import SemcomError
    from semcom.terminal import complain

    def main(recipes: list[Path]):
        try:
            texts = {
                path: upgraded_text(parsing.read_text(path, parsing.MAX_YAML_BYTES), f"recipe {path}")
                for path in recipes
            }
            for path, text in texts.items():  # all or none, where one is wrong
                files.write_text(path, text)
        except (SemcomError, parsing.ParseError) as error:
            complain(error)
            raise typer.Exit(2) from error

    main.__doc__ = __doc__
    typer.run(main)
