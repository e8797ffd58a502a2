# SPDX-License-Identifier: GPL-3.0-or-later
"""One cell of a comparison: one scheme, one seed, trained, watched after every epoch and measured at the end.

A finished cell is kept (``semcom.experiments.runner``); an unfinished one goes on from its last epoch and ends as an
unbroken one would.
"""

import io
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch

from semcom import files
from semcom.errors import ConfigError
from semcom.experiments import runner
from semcom_training.checkpoint import all_numbers, read_checkpoint
from semcom_training.data import Pictures, data_root
from semcom_training.errors import TrainingError
from semcom_training.machine import choose_device
from semcom_training.multiuser.experiment import Experiment
from semcom_training.multiuser.measure import gradient_report, load_evaluation, psnr_by_user
from semcom_training.multiuser.schemes import budget, plan
from semcom_training.multiuser.system import Optimisers, System, draw_batch, learning_rate

KEYS = ("experiment", "done", "seconds", "series", "system", "optimisers")
PROBE = 999_983  # number of the batch that gradients are compared on; no training gets so far


class Cells:
    """The cells of an experiment below a folder, trained as they are asked for.

    Args:
        experiment: what to do.
        data: folder of the data folders, else the environment variable SEMCOM_DATA.
        out: folder; cells are kept in ``<out>/<experiment's name>/``.
        device: ``cpu``, ``cuda`` or ``auto``.
        say: called with a line of text after every epoch.

    Raises:
        ConfigError: data absent; no such device; an unfinished cell comes from another experiment.
        OutputError: the folder cannot be written.
    """

    def __init__(self, experiment: Experiment, data=None, out="runs", device="auto", say=print):
        self.experiment = experiment
        self.folder = files.writable_folder(Path(out) / experiment.name)
        self.device = choose_device(device)
        self.say = say
        self.root = data
        self._pictures, self._sets = None, None

    def plan(self, schemes=None, seeds=None) -> runner.Experiment:
        """The cells of these schemes and seeds (all by default): the schemes of one seed, then the next seed."""
        cells = [
            runner.Cell(scheme, seed=seed)
            for seed in seeds or self.experiment.seeds
            for scheme in schemes or self.experiment.schemes
        ]
        return runner.Experiment(
            "multiuser", self._train, cells, {"fingerprint": self.experiment.fingerprint()}
        )

    def get(self, scheme: str, seed: int) -> dict:
        """The finished cell, trained first if need be.

        Keys: experiment (its fingerprint), settings, scheme, seed, budget (``schemes.budget``), minutes, psnr_db
        (by set, SNR and user), and series: an entry before the first epoch and after each, with epoch (users,
        number, encoder), psnr_db by user, digests by part, cosines and norms of the gradients at the encoder.
        """
        plan = self.plan([scheme], [seed])
        result = runner.get(plan, plan.cells[0], self.folder).result
        self._checkpoint(scheme, seed).unlink(missing_ok=True)
        return result

    def all(self, schemes=None, seeds=None, workers: int = 1) -> list[dict]:
        """Every cell of ``plan``, ``workers`` of them trained at a time.

        Raises:
            CellsFailed: a training failed, after all others were done.
        """
        plan = self.plan(schemes, seeds)
        reports = runner.run(plan, self.folder, workers, threads=None if workers == 1 else 1)
        for report in reports:
            if not report.problem:
                self._checkpoint(report.cell.arm, report.cell.seed).unlink(missing_ok=True)
        return [result for _, result in runner.results(reports)]

    def __getstate__(self):
        """Other processes read the pictures themselves."""
        return vars(self) | {"_pictures": None, "_sets": None}

    def _checkpoint(self, scheme: str, seed: int) -> Path:
        return self.folder / f"{scheme}-{seed}.pt"

    def pictures(self) -> Pictures:
        """The training pictures, read once."""
        if self._pictures is None:
            e = self.experiment
            self._pictures = Pictures(data_root(self.root), e.data, e.exclude, e.crop, held_out=0)
        return self._pictures

    def evaluation(self) -> dict[str, torch.Tensor]:
        """Pictures to measure on by set, read once."""
        if self._sets is None:
            root = data_root(self.root)
            self._sets = {name: load_evaluation(root, s) for name, s in self.experiment.evaluate.items()}
        return self._sets

    def batch(self, seed: int, number: int):
        """Batch ``number`` of the training with this seed."""
        return draw_batch(self.pictures(), self.experiment, seed, number, self.device)

    def _check(self, fingerprint: str, path: Path) -> None:
        if fingerprint != self.experiment.fingerprint():
            raise ConfigError(
                f"{path} comes from other settings than experiment '{self.experiment.name}' has now: give "
                f"another output folder, or delete it."
            )

    def _train(self, cell: runner.Cell, fingerprint: str) -> dict:
        e, scheme, seed = self.experiment, cell.arm, cell.seed
        checkpoint = self._checkpoint(scheme, seed)
        # as versions before the runner kept a cell
        earlier = checkpoint.with_suffix(".json")
        if earlier.exists() and (found := json.loads(earlier.read_text()))["experiment"] == fingerprint:
            return found
        epochs = plan(scheme, list(e.users), e.epochs)
        system = System(e, seed).to(self.device)
        optimisers = Optimisers(system)
        done, seconds, series = 0, 0.0, []
        if checkpoint.exists():
            done, seconds, series = self._load(checkpoint, system, optimisers)
        resumed_at = done
        started = time.monotonic()
        if not series:
            series.append(self._watch(system, seed, None))
        for epoch in epochs[done:]:
            for number in range(epoch.number * e.steps_per_epoch, (epoch.number + 1) * e.steps_per_epoch):
                rate = learning_rate(e, number)
                try:
                    optimisers.step(epoch.users, self.batch(seed, number), epoch.encoder, rate)
                except TrainingError as error:
                    raise TrainingError(
                        f"{error} {_what_is_left(checkpoint, done, len(epochs), e)}"
                    ) from error
            if not all_numbers(system):
                raise TrainingError(
                    f"after epoch {done + 1} of {len(epochs)} ({'+'.join(epoch.users)}) a weight is not a number: the "
                    f"training stops. {_what_is_left(checkpoint, done, len(epochs), e)}"
                )
            done += 1
            series.append(self._watch(system, seed, epoch))
            spent = time.monotonic() - started
            save(checkpoint, e.fingerprint(), done, seconds + spent, series, system, optimisers)
            left = spent / (done - resumed_at) * (len(epochs) - done) / 60
            watched = ", ".join(f"{user} {value:.2f}" for user, value in series[-1]["psnr_db"].items())
            self.say(
                f"{e.name} {scheme} seed {seed}: epoch {done}/{len(epochs)} ({'+'.join(epoch.users)}), "
                f"{left:.1f} min left, PSNR at {e.watch_snr_db:g} dB: {watched}"
            )
        psnr = {
            name: {f"{snr:g}": psnr_by_user(system, images, snr, e.draws) for snr in e.snr_db}
            for name, images in self.evaluation().items()
        }
        return {
            "experiment": e.fingerprint(),
            "settings": asdict(e),
            "scheme": scheme,
            "seed": seed,
            "budget": budget(epochs, e.steps_per_epoch),
            "minutes": (seconds + time.monotonic() - started) / 60,
            "psnr_db": psnr,
            "series": series,
        }

    def _watch(self, system: System, seed: int, epoch) -> dict:
        """After an epoch: every user's PSNR on the watched pictures, gradients on the probe batch, digests."""
        e = self.experiment
        images = self.evaluation()[e.watch][: e.watch_images]
        return {
            "epoch": None if epoch is None else asdict(epoch),
            "psnr_db": psnr_by_user(system, images, e.watch_snr_db, e.draws),
            "digests": {part: system.digest(part) for part in system.parts()},
            **gradient_report(system, self.batch(seed, PROBE)),
        }

    def _load(self, path: Path, system: System, optimisers: Optimisers) -> tuple[int, float, list]:
        state = read_checkpoint(path, self.device, KEYS)
        self._check(state["experiment"], path)
        system.load_state_dict(state["system"])
        optimisers.load_state_dict(state["optimisers"])
        return state["done"], state["seconds"], state["series"]


def _what_is_left(checkpoint: Path, done: int, epochs: int, experiment: Experiment) -> str:
    kept = (
        f"{done} of {epochs} epochs are kept in {checkpoint}"
        if done
        else "No epoch was finished, none is kept"
    )
    return (
        f"{kept}. Lower learning_rate in the experiment (now {experiment.learning_rate}) and give another output "
        "folder: a cell has one rate from its first step to its last."
    )


def save(path: Path, fingerprint: str, done: int, seconds: float, series: list, system, optimisers) -> None:
    """Writes a checkpoint whole or not at all.

    Raises:
        OutputError: it cannot be written (disk full); the one before it is kept.
    """
    state = {
        "experiment": fingerprint,
        "done": done,
        "seconds": seconds,
        "series": series,
        "system": system.state_dict(),
        "optimisers": optimisers.state_dict(),
    }
    blob = io.BytesIO()
    torch.save(state, blob)
    files.write_bytes(path, blob.getvalue())
