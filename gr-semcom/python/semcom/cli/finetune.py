# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom finetune``: a capture and a model to a better one."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from semcom.cli import options

_DEFAULT_MODEL = "photo-1-12"


def finetune(
    capture: Annotated[
        Path, typer.Option("--capture", metavar="DIR|FILE", help="A SigMF recording or a folder of them.")
    ],
    model: options.Model = None,
    users: Annotated[
        str,
        typer.Option(
            "--users",
            metavar="A,B,...",
            help="User decoders: families (attention,conv,...), anchor for the model's own, names or cards. "
            "[default: anchor]",
        ),
    ] = "",
    anchor: Annotated[
        bool, typer.Option("--anchor", help="Encoder and decoder together, through the replayed channel.")
    ] = False,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--pictures",
            metavar="FOLDER",
            help="With --anchor: other pictures to train on. [default: the captured ones]",
        ),
    ] = None,
    originals: Annotated[
        Path | None, typer.Option("--originals", metavar="FOLDER", help="The pictures that were sent.")
    ] = None,
    sent_log: Annotated[
        Path | None,
        typer.Option("--sent-log", metavar="FILE", help="The transmitter's log, which names them."),
    ] = None,
    link: options.Link = None,
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where better models go.")
    ] = Path("finetuned"),
    steps: Annotated[int, typer.Option(min=0, max=10**6, help="Optimiser steps, each decoder.")] = 200,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Pictures a step.")] = 8,
    learning_rate: Annotated[float, typer.Option(min=1e-8, max=0.01, help="Of Adam, at first.")] = 2e-5,
    max_minutes: Annotated[float, typer.Option(min=0, help="End each after so long; 0: no limit.")] = 0.0,
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the pictures that decide at the end.")
    ] = 0.25,
    encoder_snr_db: Annotated[
        float | None,
        typer.Option(
            min=-20, max=60, help="The SNR that the encoder was given. [default: found from what came]"
        ),
    ] = None,
    device: options.Device = options.Where.auto,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="CPU threads. [default: torch's own]")
    ] = None,
    seed: options.Seed = 1,
    json: options.Json = None,
    resume: options.Resume = False,
) -> None:
    """Fine-tune decoders, or encoder and decoder, on what was received over the air."""
    from semcom.cli.console import mention
    from semcom.cli.output import check_json, give_json
    from semcom.cli.results import Results
    from semcom.errors import ConfigError

    check_json(json)
    if anchor and users:
        raise ConfigError(
            "--anchor tunes encoder and decoder; its users come after, on a capture of their own."
        )

    if pictures is not None and not anchor:
        raise ConfigError("--pictures is for --anchor: a decoder learns from pictures that were received.")

    import torch

    from semcom.radio.profile import load_link
    from semcom.system import zoo
    from semcom_training import finetune as tuning
    from semcom_training.machine import choose_device

    where = choose_device(device.value)
    if threads:
        torch.set_num_threads(threads)
    settings = tuning.Options(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        max_minutes=max_minutes,
        held_out=held_out,
        encoder_snr_db=encoder_snr_db,
        seed=seed,
    )
    model = model or _DEFAULT_MODEL
    names = _users(users, model) or [model]
    captured = tuning.read_capture(
        capture, model, originals, sent_log, load_link(link) if link is not None else None
    )
    for what, times in captured.skipped.items():
        mention(f"{what}: {times}")
    rows: list[dict] = []

    def value() -> dict:
        return {
            "capture": captured.sha256,
            "pictures": len(captured.examples),
            "snr_db": captured.snr_db,
            "skipped": dict(captured.skipped),
            "models": rows,
        }

    def show() -> None:
        give_json(json if str(json) == "-" else None, value(), _table(rows))

    decides = asdict(settings) | {"capture": captured.sha256, "anchor": anchor, "pictures": str(pictures)}
    kept = Results(decides, len(names), out=out_folder, json=json, resume=resume, show=show)
    for name in names:
        key = f"{name} {zoo.card(name).weights_sha256[:16]}"
        if key in kept.found:
            rows.append(kept.found[key])
            kept.had(key, rows[-1])
            continue
        if anchor:
            fresh = tuning.fresh_examples(pictures, captured, seed) if pictures is not None else None
            outcome = tuning.finetune_pair(name, captured, out_folder, settings, mention, fresh, where)
        else:
            outcome = tuning.finetune_user(name, captured, out_folder, settings, mention, where)
        rows.append(_row(outcome))
        kept.add(key, rows[-1])
    give_json(json, value(), _table(rows))
    kept.finish()
    for row in rows:
        if row["card"] is None:
            mention(
                f"{row['model']}: no gain on held-out pictures; nothing was written, keep the model you have."
            )


def _users(text: str, model: str) -> list[str]:
    """Families of the model's users, ``anchor``, names and card paths to what ``zoo.load`` takes."""
    from semcom.codec import DECODERS
    from semcom.errors import ModelError
    from semcom.link.users import ANCHOR
    from semcom.system import zoo

    wanted = [name.strip() for name in text.split(",") if name.strip()]
    shipped = zoo.users(model) if any(name in DECODERS for name in wanted) else {}
    known = {ANCHOR: model} | shipped
    for name in wanted:
        if name in DECODERS and name not in shipped:
            has = f"has {', '.join(shipped)}" if shipped else "has none"
            raise ModelError(
                f"'{model}' ships without a user '{name}': it {has}. A path of a card works too."
            )
    for name in wanted:
        if name not in known and name not in zoo.names() and not Path(name).exists():
            raise ModelError(
                f"--users takes {', '.join(DECODERS)} (users that the model ships with), {ANCHOR} (its own decoder), "
                f"names of models and paths of cards, not '{name}'."
            )
        card = zoo.card(known.get(name, name))
        if card.model_hash != zoo.card(model).model_hash:
            raise ModelError(f"'{card.name}' does not decode what '{model}' encodes: its anchor is another.")
    return [known.get(name, name) for name in wanted]


def _row(outcome) -> dict:
    return {
        "model": outcome.model,
        "before_db": outcome.before_db,
        "after_db": outcome.after_db,
        "gain_db": outcome.gain_db,
        "held_out": outcome.held_out,
        "steps": outcome.steps,
        "minutes": outcome.minutes,
        "card": str(outcome.card) if outcome.card else None,
    }


def _table(rows: list[dict]):
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from semcom.cli.console import number

    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    for head in ("before dB", "after dB", "held out"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("written", overflow="fold")
    for row in rows:
        table.add_row(
            escape(row["model"]),
            number(row["before_db"], 2),
            number(row["after_db"], 2),
            str(row["held_out"]),
            escape(row["card"]) if row["card"] else "no: not better",
        )
    return table
