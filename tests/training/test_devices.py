# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a training computes, as far as a machine without a GPU can show: everything on one device, networks in
bfloat16."""

import dataclasses

import pytest
import torch

from semcom.codec.image.adapted import Adapted
from semcom.codec.registry import build_decoder
from semcom.errors import ConfigError
from semcom.kinds import LABEL
from semcom.modem.profile import ModemProfile
from semcom.system import zoo
from semcom_training.channels import channel
from semcom_training.finetune import Example
from semcom_training.machine import choose_device
from semcom_training.models import build_codec
from semcom_training.multiuser.experiment import EvaluationSet, Experiment, User
from semcom_training.multiuser.system import Batch, System, losses
from semcom_training.objective import Objective
from semcom_training.recipe import RECIPES, load_recipe, make_recipe

# on meta tensors operations are checked and nothing is computed; one that meets a CPU tensor fails, as on a GPU
META = torch.device("meta")
SMALL = {
    "linres": {"channels": 16, "widths": [16], "encoder_blocks": [1], "decoder_blocks": [1]},
    "anchor": {"channels": 8, "width": 8, "depth": 1, "stride": 4},
    "content-adaptive": {
        "classes": [2, 2, 2, 2],
        "widths": [16, 16],
        "sender_blocks": [1, 1],
        "receiver_blocks": [1, 1],
    },
}


def objective_of(recipe) -> Objective:
    torch.manual_seed(1)
    return Objective(build_codec(recipe)[0], recipe).train()


RECIPE_NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
# in quick tests each recipe once, and each channel with one recipe
STEPS = [
    pytest.param(name, air, marks=[] if air == "awgn" or name == "cifar-1-12" else pytest.mark.slow)
    for name in RECIPE_NAMES
    for air in ("awgn", "rayleigh", "multipath")
]


@pytest.mark.parametrize("name, air", STEPS)
def test_a_step_of_every_shipped_recipe_stays_on_its_device(name, air):
    recipe = dataclasses.replace(load_recipe(name), channel=air, orders=[])
    anchor = zoo.card(recipe.anchor).architecture if recipe.anchor else ""
    if "content-adaptive" in (recipe.architecture, anchor):
        pytest.skip("which coefficients it sends depends on their values, and meta tensors have none")
    objective = objective_of(recipe).to(META)
    images = torch.empty(2, 3, 32, 32, device=META)
    snr_db = torch.empty(2, device=META)
    is_label = objective.codec.result is LABEL
    wanted = torch.empty(2, dtype=torch.long, device=META) if is_label else None
    loss, figure = objective(images, snr_db, snr_db, None, wanted=wanted)
    loss.backward()
    assert loss.device == figure.device == META
    trained = [p for p in objective.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None and p.grad.device == META for p in trained)


def test_a_step_of_every_scheme_stays_on_its_device():
    experiment = Experiment(
        "devices",
        {name: User(name, 8, 2) for name in ("attention", "vgg", "conv", "resnet")},
        ["pictures"],
        {"div2k": EvaluationSet("pictures", 1, 32)},
        channel="awgn",
    )
    system = System(experiment, seed=1).to(META)
    rayleigh = channel("rayleigh")
    system.send = lambda latents, snr_db, generator: rayleigh(latents, snr_db, None)  # meta has no generator
    batch = Batch(torch.empty(2, 3, 32, 32, device=META), torch.empty(2, device=META), 1, 0, ("a", "b"))
    found = losses(system, system.users, batch, encoder=True)
    sum(found.values()).backward()
    assert {loss.device for loss in found.values()} == {META}
    assert all(p.grad is not None for p in system.parameters())


def test_a_canceller_and_its_decoder_stay_on_their_device():
    decoder = build_decoder("conv", {"channels": 8, "stride": 4, "width": 8, "depth": 1})
    adapted = Adapted(decoder, dataclasses.asdict(ModemProfile())).to(META)
    latents = torch.empty(2, decoder.latent_count(32, 32), dtype=torch.complex64, device=META)
    noise_var = torch.empty(latents.shape, device=META)
    assert adapted.decode(latents, 10.0, (32, 32), noise_var).device == META


def test_examples_move_as_a_whole():
    example = Example(
        "k", "n", torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(4) + 0j, torch.ones(4), 10.0
    )
    moved = example.to(META)
    assert {t.device for t in (moved.original, moved.received, moved.noise_var)} == {META}
    assert (moved.key, moved.name, moved.snr_db) == ("k", "n", 10.0)


@pytest.mark.parametrize("air", ["awgn", {"name": "modem", "delay_samples": 8, "backoff_db": 3.0}])
@pytest.mark.parametrize("architecture", list(SMALL))
def test_bfloat16_has_nearly_the_loss_and_gradient_of_float32(architecture, air):
    recipe = make_recipe(
        {
            "name": "small",
            "architecture": architecture,
            "arguments": SMALL[architecture],
            "channel": air,
            "data": ["pictures"],
        }
    )
    objective = objective_of(recipe)
    if architecture == "content-adaptive":
        for table in objective.codec.tables():
            # a spectrum that falls
            table.copy_(-torch.arange(table.shape[1]).clamp_max(700) * 2)
        objective.codec.water_levels.fill_(-500), objective.codec.thresholds.fill_(-500)
        for trunk in (objective.codec.sender, objective.codec.receiver):
            torch.nn.init.normal_(trunk.picture_out.weight, std=0.01)
    coarse = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    images = torch.nn.functional.interpolate(coarse, size=48, mode="bilinear")
    snr_db, found = torch.tensor([5.0, 15.0]), []
    for enabled in (False, True):
        objective.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss, psnr = objective(images, snr_db, snr_db, torch.Generator().manual_seed(3))
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in objective.parameters()])
        found.append((gradient, float(psnr)))
    (exact, psnr), (coarse, rounded) = found
    assert rounded == pytest.approx(psnr, abs=0.05)
    assert torch.nn.functional.cosine_similarity(exact, coarse, dim=0) > 0.98
    assert not torch.equal(exact, coarse)  # bfloat16 was at work


def test_a_whole_training_runs_in_bfloat16(generated, tmp_path, monkeypatch):
    import lightning_fabric

    from semcom_training import train

    recipe = make_recipe(
        {
            "name": "small",
            "architecture": "linres",
            "arguments": SMALL["linres"],
            "data": ["pictures"],
            "crop": 24,
            "held_out": 4,
            "batch": 4,
            "steps": 12,
            "log_every": 4,
        }
    )
    courses, fabric = {}, lightning_fabric.Fabric
    for precision in ("32-true", "bf16-mixed"):  # as on GPUs
        monkeypatch.setattr(
            lightning_fabric,
            "Fabric",
            lambda *, precision=None, to=precision, **how: fabric(precision=to, **how),
        )
        folder = train.run(
            recipe, generated, tmp_path / precision, device="cpu", threads=1, progress=False, export=False
        )
        rows = (folder / "log.csv").read_text().splitlines()
        at = rows[0].split(",").index("train_loss")
        courses[precision] = [float(row.split(",")[at]) for row in rows[1:]]
    assert courses["bf16-mixed"] == pytest.approx(courses["32-true"], abs=0.05)
    assert courses["bf16-mixed"] != courses["32-true"]


def test_a_gpu_that_is_not_there_is_said_with_the_cure(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="no GPU here.*Use cpu"):
        choose_device("cuda")
    with pytest.raises(ConfigError, match="auto, cpu or cuda, not 'tpu'"):
        choose_device("tpu")


def test_a_gpu_that_is_there_is_taken_unless_the_cpu_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu").type == "cpu"
