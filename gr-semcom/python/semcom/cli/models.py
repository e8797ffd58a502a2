# SPDX-License-Identifier: GPL-3.0-or-later
"""``semcom models``: what there is to send with."""

from semcom.cli.console import mention, number, out

_WIDE = 100  # columns of a screen that takes all of it


def models() -> None:
    """List the trained models with their PSNR over the ideal AWGN channel, user decoders under their anchor."""
    from rich import box
    from rich.table import Table

    from semcom.system import zoo

    cards = _in_order({name: zoo.card(name) for name in zoo.names()})
    if not cards:
        mention("no trained model is installed.")
        return
    console = out()
    # on narrow screens less is said, and all of it can be read
    wide = console.width >= _WIDE
    wanted = (1, 4, 7, 10, 13, 20) if wide else (1, 7, 13, 20)
    table = Table(
        header_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
        caption="PSNR in dB (classifiers: share correct) at an SNR of 1 to 20 dB over AWGN, mean over the images"
        + ("" if wide else f"; more SNRs and sha256 from {_WIDE} columns on"),
    )
    table.add_column("model", overflow="fold", min_width=24)
    table.add_column("rho", overflow="fold", min_width=7)
    table.add_column("measured on", overflow="fold", min_width=11)
    for snr in wanted:
        table.add_column(str(snr), justify="right", no_wrap=True, min_width=5)
    table.add_column("MB", justify="right", no_wrap=True)
    if wide:
        table.add_column("sha256", no_wrap=True)
    for card in cards.values():
        size = (zoo.WEIGHTS / card.weights_file).stat().st_size / 1e6
        digits = 2 if card.result == "image" else 3
        tables = card.tables("psnr_db" if card.result == "image" else "correct", "awgn") or [
            {"set": "-", "snr_db": [], "values": []}
        ]
        for line, measured in enumerate(tables):
            psnr = dict(zip(measured["snr_db"], measured["values"]))
            own = (_shown(card), _ratio(card.rho)) if line == 0 else ("", "")
            file = (f"{size:.1f}", *([card.weights_sha256[:8]] if wide else [])) if line == 0 else ()
            table.add_row(*own, measured["set"], *(number(psnr.get(snr), digits) for snr in wanted), *file)
    console.print(table)


def _in_order(cards: dict) -> dict:
    """Every model that encodes, and after each the user decoders that decode it."""
    ordered = {}
    for name, card in cards.items():
        if card.anchor is None:
            ordered[name] = card
            ordered.update({n: c for n, c in cards.items() if c.anchor == card.reference})
    return ordered | {name: card for name, card in cards.items() if name not in ordered}


def _ratio(rho) -> str:
    """One ratio, or the lowest and the highest."""
    return "- ".join(f"{one:.4f}" for one in rho) if isinstance(rho, list) else f"{rho:.4f}"


def _shown(card) -> str:
    """A user decoder is shown by its family, which is what ``--users`` takes."""
    return card.name if card.anchor is None else f"  {card.architecture}"
