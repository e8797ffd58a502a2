# SPDX-License-Identifier: GPL-3.0-or-later
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from semcom.errors import ConfigError, ImageError
from semcom.kinds import sets
from semcom.kinds.sets import load_cifar10
from semcom_training.data import Atlas, Pictures, data_root


def test_both_forms_of_cifar_give_the_same_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (1000, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "sheets").mkdir()
    sheet = images.reshape(40, 25, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(1280, 800, 3)
    Image.fromarray(sheet).save(tmp_path / "sheets" / "train_00.webp", lossless=True)
    (tmp_path / "batches").mkdir()
    batch = {b"data": images.transpose(0, 3, 1, 2).reshape(1000, -1), b"labels": [0] * 1000}
    (tmp_path / "batches" / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=2))
    for form in ("sheets", "batches"):
        assert np.array_equal(load_cifar10(tmp_path / form), images)
    with pytest.raises(ConfigError, match="no CIFAR-10 test images"):
        load_cifar10(tmp_path / "sheets", "test")


class Evil:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_a_batch_that_is_code_is_not_run(tmp_path, capsys):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(ConfigError, match="not one of CIFAR-10's python batches.*no place"):
        load_cifar10(tmp_path)
    assert "never" not in capsys.readouterr().out


def test_crops_are_seeded_and_never_of_held_out_pictures(generated):
    pictures = Pictures(generated, ["pictures"], crop=24, held_out=5)
    assert len(pictures.held_out) == 5 and len(pictures.images) == 35
    assert not any(torch.equal(a, b) for a in pictures.held_out for b in pictures.images)
    draw = [pictures.batch(8, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert draw[0].shape == (8, 3, 24, 24) and draw[0].dtype == torch.uint8
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])


@pytest.mark.parametrize(("crop", "rank", "ranks"), [(24, 0, 1), (0, 0, 1), (24, 1, 3)])
def test_crops_cut_on_a_device_are_those_cut_from_the_list(generated, tmp_path, crop, rank, ranks):
    data = generated
    if crop:  # pictures of several sizes
        data = tmp_path
        for n, size in enumerate([(24, 24), (31, 40), (50, 27), (64, 33), (24, 90)]):
            pixels = np.random.default_rng(n).integers(0, 255, (*size, 3), dtype=np.uint8)
            (tmp_path / "pictures").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "pictures" / f"{n}.png")
    pictures = Pictures(data, ["pictures"], crop=crop, held_out=1)
    listed = pictures.batch(40, torch.Generator().manual_seed(5), rank, ranks)
    pictures._atlas = Atlas(pictures.images, torch.device("cpu"))
    assert torch.equal(pictures.batch(40, torch.Generator().manual_seed(5), rank, ranks), listed)


def test_excluded_prefixes_and_absent_folders(generated, tmp_path):
    assert len(Pictures(generated, ["pictures"], ["0"], crop=24, held_out=5).images) == 25
    with pytest.raises(ConfigError, match="trains on 'elsewhere'"):
        Pictures(generated, ["elsewhere"])
    with pytest.raises(ConfigError, match="are too few"):
        Pictures(generated, ["pictures"], crop=100, held_out=5)
    with pytest.raises(ConfigError, match="does not exist"):
        data_root(tmp_path / "no")


def test_a_damaged_picture_is_named(generated, tmp_path):
    (tmp_path / "photos").mkdir()
    for file in sorted((generated / "pictures").iterdir())[:3]:
        (tmp_path / "photos" / file.name).write_bytes(file.read_bytes())
    whole = (tmp_path / "photos" / file.name).read_bytes()
    for spoilt, words in (
        (whole[: len(whole) // 2], "is damaged or cut short"),
        (b"", "is empty"),
        (b"no picture at all", "is not a picture"),
    ):
        (tmp_path / "photos" / file.name).write_bytes(spoilt)
        with pytest.raises(ImageError, match=f"photos/{file.name} {words}"):
            Pictures(tmp_path, ["photos"], crop=24, held_out=1)


def test_whole_pictures_have_one_size(tmp_path):
    (tmp_path / "photos").mkdir()
    for name, size in (("a", (32, 24)), ("b", (32, 24)), ("c", (40, 24))):
        Image.new("RGB", size).save(tmp_path / "photos" / f"{name}.png")
    with pytest.raises(ConfigError, match="photos/a.png has 32x24 pixels and photos/c.png 40x24: set 'crop'"):
        Pictures(tmp_path, ["photos"], crop=0, held_out=1)


def test_no_data_folder_is_said(monkeypatch):
    monkeypatch.delenv("SEMCOM_DATA", raising=False)
    with pytest.raises(ConfigError, match="SEMCOM_DATA"):
        data_root()


def test_the_real_cifar_is_whole(data_folder):
    if not (data_folder / "cifar10").is_dir():
        pytest.skip("the data folder holds no cifar10")
    images = load_cifar10(data_folder / "cifar10", "test")
    assert images.shape == (10_000, 32, 32, 3)


def cifar100(folder, count=400, classes=100):
    """The python batches of a set of noise, called as CIFAR-100's are."""
    (folder / "cifar100" / "cifar-100-python").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        images = generator.integers(0, 255, (count, 3072), dtype=np.uint8)
        batch = {b"data": images, b"fine_labels": [n % classes for n in range(count)]}
        path = folder / "cifar100" / "cifar-100-python" / split
        path.write_bytes(pickle.dumps(batch, protocol=2))
    return folder


def test_cifar100_has_its_classes_and_a_part_of_it_says_so(tmp_path):
    pictures = Pictures(cifar100(tmp_path, 2000), ["cifar100"], held_out=100)
    assert len(pictures.images) == 1900 and len(pictures.held_out_labels) == 100
    wanted = [int(name.rsplit("-", 1)[1]) % 100 for name in pictures.names]
    assert pictures.labels.tolist() == wanted
    pictures.check_labels(100)
    assert sets.title(tmp_path / "cifar100", 10_000) == "CIFAR-100"
    assert sets.title(tmp_path / "cifar100", 5_000) == "CIFAR-100, reduced, own split"
    # of what is held out nothing is drawn
    assert not set(pictures.names) & set(pictures._held_out_names)


@pytest.mark.parametrize(
    "labels, message",
    [
        ([0, 1, 2, 5], "labels 0 to 5, but the codec has 4 classes"),
        ([-1, 0, 1, 2], "labels -1 to 2"),
        ([0, 1, 3, 3], "no picture of class 2, of 4"),
        ([0, 1, 2] + [3] * 20, "unbalanced: 20 pictures of class 3, 1 of class 0"),
    ],
)
def test_classes_that_cannot_be_learned_are_named(labels, message):
    with pytest.raises(ConfigError, match=message):
        sets.check_labels(np.array(labels), 4, "the folder")


def test_a_folder_without_labels_says_which_have_them(generated):
    pictures = Pictures(generated, ["pictures"], crop=24, held_out=5)
    with pytest.raises(ConfigError, match="takes cifar10 or cifar100"):
        pictures.check_labels(10)


def test_pictures_are_moved_within_their_mirror(tmp_path):
    moved = Pictures(cifar100(tmp_path), ["cifar100"], held_out=100, shift=3)
    still = Pictures(tmp_path, ["cifar100"], held_out=100)
    a, b = (of.batch(64, torch.Generator().manual_seed(0)) for of in (moved, still))
    assert a.shape == b.shape and not torch.equal(a, b)
    # what the middle shows was within 3 pixels of it
    for one, other in zip(a, b):
        middle = one[:, 4:28, 4:28]
        places = [(r, c) for r in range(1, 8) for c in range(1, 8)]
        assert any(torch.equal(middle, other[:, r : r + 24, c : c + 24]) for r, c in places)
