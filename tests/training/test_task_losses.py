# SPDX-License-Identifier: GPL-3.0-or-later
"""Regularisers of task codecs, their schedule, and the two SNRs of a recipe."""

import math
from dataclasses import replace

import pytest
import torch

from semcom.codec import build
from semcom.errors import ConfigError
from semcom.system import zoo
from semcom.system.card import ModelCard, own_parts
from semcom_training import frozen, task_losses
from semcom_training.losses import Transmission, check_loss, loss
from semcom_training.models import build_codec
from semcom_training.objective import Objective
from semcom_training.recipe import make_recipe

SMALL = {"classes": 4, "width": 8}
CODES = {"task-deepjscc": {}, "vl-vfe": {"dimensions": 16}, "dt-jscc": {"slots": 4}}


def crossed(name: str, snr_db: float = 10.0, rows: int = 32, **arguments) -> Transmission:
    """A batch across AWGN."""
    torch.manual_seed(0)
    codec = build(name, SMALL | CODES[name] | arguments).train()
    images, labels = torch.rand(rows, 3, 32, 32), torch.arange(rows) % 4
    sent = codec.send(images, snr_db, in_memory=True)
    noise = torch.full(sent.values.shape, 10 ** (-snr_db / 10))
    noisy = sent.values + noise.sqrt() * torch.randn(sent.values.shape, dtype=torch.complex64)
    received = replace(sent, values=noisy, noise_var=noise)
    return Transmission(codec, sent, received, codec.receive(received, snr_db, (4, 1)), labels)


@pytest.mark.parametrize(
    "name, terms",
    [
        ("task-deepjscc", ("fisher", "kl-sampled", "pgd", "rate-reduction")),
        ("vl-vfe", ("fisher", "kl-sampled", "log-uniform-kl")),
        ("dt-jscc", ("fisher", "fisher-discrete", "kl-sampled", "code-entropy")),
    ],
)
def test_every_term_is_a_number_whose_gradient_reaches_the_encoder(name, terms):
    for term in terms:
        batch = crossed(name)
        value = loss({term: 1.0})(None, None, None, batch)
        value.backward()
        assert value.dim() == 0 and torch.isfinite(value), term
        gradient = batch.codec.project.weight.grad if name != "vl-vfe" else batch.codec.direction.grad
        assert torch.isfinite(gradient).all() and float(gradient.abs().sum()) > 0, term


def test_the_scaled_term_is_the_trace_times_half_the_noise():
    batch = crossed("task-deepjscc", snr_db=12.0)
    bare = task_losses.fisher(batch, "exact")
    scaled = task_losses.fisher(batch, "exact", scale_with_noise=True)
    variance = 10 ** (-12.0 / 10) / (2 * batch.codec.scale.square())
    assert float(scaled.detach()) == pytest.approx(float((bare * variance / 2).detach()), rel=1e-5)
    # and little noise costs what it says
    fine = crossed("task-deepjscc", snr_db=45.0, rows=2000)
    term, kl = (
        x.detach()
        for x in (task_losses.fisher(fine, "exact", scale_with_noise=True), task_losses.kl_sampled(fine))
    )
    assert float(term / kl) == pytest.approx(1, abs=0.1)


def test_the_worst_disturbance_is_worse_than_noise_and_within_its_energy():
    batch = crossed("task-deepjscc", snr_db=0.0, rows=200)
    posterior, z, variance = batch.codec.posterior(batch.received)
    came, limit = torch.isfinite(variance), variance.sum(dim=1, keepdim=True).sqrt()
    worst = task_losses._worst(posterior, z.detach(), came, limit.detach(), batch.wanted, 5)
    assert (worst.norm(dim=1) <= limit[:, 0].detach() * 1.001).all()
    random = torch.randn_like(worst)
    random = random / random.norm(dim=1, keepdim=True) * limit.detach()
    nll = [
        torch.nn.functional.nll_loss(posterior.log_q(z.detach() + d), batch.wanted).detach()
        for d in (worst, random, 0 * worst)
    ]
    assert nll[0] > nll[1] and nll[0] > nll[2]


def test_apart_classes_reduce_more_rate():
    batch = crossed("task-deepjscc", rows=64)
    apart = torch.nn.functional.one_hot(batch.wanted, 8).float()
    together = torch.ones_like(apart)

    def of(z):
        values = torch.view_as_complex((z * batch.codec.scale).view(len(z), -1, 2))
        return float(
            task_losses.rate_reduction(replace(batch, received=replace(batch.received, values=values)))
        )

    assert of(apart) < of(together) - 0.5 and abs(of(together)) < 1e-5


def test_the_prior_prunes_what_is_below_the_noise_and_takes_a_zero():
    batch = crossed("vl-vfe")
    zero = replace(batch, sent=replace(batch.sent, values=torch.zeros_like(batch.sent.values)))
    large = replace(batch, sent=replace(batch.sent, values=0.9 * torch.ones_like(batch.sent.values)))
    small, much = (float(task_losses.log_uniform_kl(one)) for one in (zero, large))
    assert math.isfinite(small) and small < much


def test_terms_refuse_codecs_that_they_are_not_of():
    with pytest.raises(ConfigError, match="dt-jscc alone"):
        task_losses.code_entropy(crossed("task-deepjscc"))
    with pytest.raises(ConfigError, match="dt-jscc alone"):
        task_losses.fisher_discrete(crossed("vl-vfe"))
    picture = replace(crossed("task-deepjscc"), codec=build("linres", {"channels": 8, "widths": [16]}))
    with pytest.raises(ConfigError, match="not of a picture's"):
        task_losses.fisher(picture)


def test_a_weight_rises_over_its_share_of_the_training():
    total = loss({"mse": 1, "log-mse": {"weight": 2, "start": 0.2, "full": 0.6, "floor": 1.0}})
    decoded, images = torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    before, half, after = (float(total(decoded, images, done=done)) for done in (0.1, 0.4, 0.7))
    assert before == pytest.approx(1)
    assert half == pytest.approx(1 + math.log(2)) and after == pytest.approx(1 + 2 * math.log(2))
    for wrong, message in (
        ({"mse": {"weight": 1, "full": 2}}, "0 to 1, not 2"),
        ({"mse": {"weight": 1, "start": 0.5, "full": 0.2}}, "must not be before"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_loss(wrong)


VALUES = {
    "version": 2,
    "name": "mine",
    "model": {"architecture": "task-deepjscc", "arguments": SMALL},
    "data": {"folders": ["cifar10"]},
    "told": {"snr_db": [20], "snr_of": "peak", "stale_fraction": 0.0},
    "channel": {"name": "awgn", "uneven_fraction": 0.0},
    "loss": {"cross-entropy": 1, "fisher": {"weight": 0.1, "full": 0.2}},
    "optimiser": {"name": "adamw", "learning_rate": 3e-3},
    "schedule": {"batch": 64, "steps": 80},
}


def recipe(architecture="task-deepjscc", **sections):
    values = VALUES | {"model": {"architecture": architecture, "arguments": SMALL}}
    for name, changes in sections.items():
        values[name] = {**values[name], **changes}
    return make_recipe(values)


def test_a_peak_snr_is_the_noise_of_a_real_dimension(monkeypatch):
    made = recipe()
    objective = Objective(build_codec(made)[0], made).train()
    seen = {}
    send = objective.send
    monkeypatch.setattr(objective, "send", lambda *rest: seen.setdefault("got", send(*rest)))
    snr = torch.full((8,), 20.0)
    objective(
        torch.rand(8, 3, 32, 32), snr, snr, torch.Generator().manual_seed(0), wanted=torch.arange(8) % 4
    )
    # the constant of the power has moved by one batch since: 10 % of the way
    variance = float(seen["got"].noise_var.mean() / (2 * objective.codec.scale.square()))
    assert 10 * math.log10(variance / 0.01) == pytest.approx(0, abs=0.5)
    with pytest.raises(ConfigError, match="peak of a codec whose values have a peak"):
        recipe("linres")


def generated_features(rows=600):
    """Features of four classes that a line separates."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 4
    x = torch.nn.functional.one_hot(labels, 4).float().repeat(1, 8)
    x = x + 0.3 * torch.randn(rows, 32, generator=generator)
    return frozen.Features(
        "generated", torch.stack([x, x]), labels, x[:200], labels[:200], x[200:], labels[200:]
    )


@pytest.mark.parametrize(
    "architecture",
    [name if name == "task-deepjscc" else pytest.param(name, marks=pytest.mark.slow) for name in CODES],
)
def test_a_training_on_features_leaves_the_backbone_and_learns(architecture):
    own = {"task-deepjscc": "fisher", "vl-vfe": "fisher", "dt-jscc": "fisher-discrete"}[architecture]
    made = recipe(
        architecture,
        model={"frozen": ["backbone"], "arguments": SMALL | CODES[architecture]},
        loss={"cross-entropy": 1, own: 0.01},
        told={"snr_of": "symbol" if architecture == "dt-jscc" else "peak"},
        schedule={"steps": 250 if architecture == "dt-jscc" else 80},
    )
    torch.manual_seed(made.seed)
    before = build_codec(made)[0].backbone.state_dict()
    features = generated_features()
    codec = frozen.train(made, features)
    assert frozen.error_rate(codec, features.test, features.test_labels, 15.0) < 0.2
    assert frozen.error_rate(codec, features.test, features.test_labels, -15.0) > 0.3
    assert all(torch.equal(tensor, codec.backbone.state_dict()[name]) for name, tensor in before.items())
    assert not any(p.requires_grad for p in codec.backbone.parameters())
    if architecture != "dt-jscc":
        found = frozen.sensitivity(codec, features.test, 30.0)
        assert found["term"] == pytest.approx(found["kl"], rel=0.25)


def test_a_training_that_a_regulariser_has_stalled_says_so_with_the_cure():
    terms = {"cross-entropy": 1, "fisher": 10}
    assert "Lower its weight" in task_losses.stall(terms, 10, 0.11, 0.3)
    assert task_losses.stall(terms, 10, 0.4, 0.3) is None  # learns
    assert task_losses.stall(terms, 10, 0.1, 0.1) is None  # is young
    assert task_losses.stall({"cross-entropy": 1}, 10, 0.1, 0.5) is None  # not why


def test_losses_of_pictures_are_not_of_labels():
    with pytest.raises(ConfigError, match="'mse' compares pictures, and 'task-deepjscc' gives labels"):
        make_recipe(VALUES | {"loss": {"mse": 1}})
    with pytest.raises(ConfigError, match="'log-mse' compares pictures"):
        make_recipe({key: value for key, value in VALUES.items() if key != "loss"})
    picture = {"architecture": "linres", "arguments": {"channels": 8, "widths": [16]}}
    with pytest.raises(ConfigError, match="'cross-entropy' compares labels"):
        make_recipe(VALUES | {"model": picture, "told": {}, "loss": {"cross-entropy": 1}})


def test_a_module_that_is_not_there_cannot_be_frozen():
    made = recipe(model={"frozen": ["trunk"]})
    with pytest.raises(ConfigError, match="no module 'trunk' to freeze: there are backbone"):
        Objective(build_codec(made)[0], made)
    with pytest.raises(ConfigError, match="model.frozen"):
        frozen.make(recipe(), data="/nowhere")


def test_models_share_a_backbone_and_each_is_its_own(tmp_path):
    def card(name, codec, parts):
        return ModelCard(
            name=name, architecture="task-deepjscc", arguments=SMALL, rho=codec.rho, source="image", result="label",
            power="peak", payloads=["analog"], trained_for={"snr_range_db": [0, 20], "channel": "awgn"}, parts=parts,
            weights_dtype="float16", parameters=1, training_data=["none"], recipe={}, seed=0,
            budget={"steps": 0, "minutes": 0.0, "hardware": "none"}, measured=[], licence="GPL-3.0-or-later",
        ).write(tmp_path / f"{name}.json")  # fmt: skip

    torch.manual_seed(0)
    first, second = build("task-deepjscc", SMALL), build("task-deepjscc", SMALL)
    second.backbone.load_state_dict(first.backbone.state_dict())
    shared = zoo.save_weights(first, tmp_path / "first.safetensors")
    own = zoo.save_weights(second, tmp_path / "second.safetensors", with_backbone=False)
    card("first", first, own_parts("first.safetensors", shared))
    part = {"backbone": {"file": "first.safetensors", "sha256": shared}}
    path = card("second", second, own_parts("second.safetensors", own) | part)
    loaded = [zoo.load(tmp_path / f"{name}.json") for name in ("first", "second")]
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded[0].codec.features(x), loaded[1].codec.features(x))
    assert not torch.equal(loaded[0].codec.head[0].weight, loaded[1].codec.head[0].weight)
    assert loaded[0].model_hash != loaded[1].model_hash
    assert {p.name for p in zoo.companions(path)} == {"first.safetensors", "second.safetensors"}
    (tmp_path / "first.safetensors").unlink()
    with pytest.raises(zoo.ModelError, match="first.safetensors are missing"):
        zoo.load(path)
