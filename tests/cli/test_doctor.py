# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor names each known fault and its cure; the faults are simulated."""

import json
import sys

import pytest
from typer.testing import CliRunner

from semcom.cli import cures, examination, home, radio_examination
from semcom.cli.examination import judge_blocks, judge_radio
from semcom.cli.findings import FINE, NOTICE, WRONG, Finding, Probe
from semcom.cli.main import app
from semcom.cli.radio_examination import (
    UsbRadio,
    devices,
    driver,
    has_rules,
    judge_buffers,
    judge_usb,
    usb_radios,
)
from semcom.security import make_key

GOOD_RADIO = '{"version": "3.10.5.1", "prefix": "/usr", "pmt": true}'


def nowhere():
    return None


class TestRadio:
    def test_fine(self):
        finding = judge_radio(Probe(0, f"chatter\n{GOOD_RADIO}\n", ""), nowhere)
        assert finding.state == FINE and "3.10.5.1" in finding.found

    @pytest.mark.parametrize(
        "said",
        [
            "AttributeError: _ARRAY_API not found",
            "ImportError: numpy.core.multiarray failed to import",
            "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.1",
        ],
    )
    def test_numpy_2(self, said):
        finding = judge_radio(Probe(1, "", said), nowhere)
        assert finding.state == WRONG and "numpy 2" in finding.found and '"numpy<2"' in finding.cure

    def test_cures_of_a_wheel_need_no_checkout(self, monkeypatch):
        monkeypatch.setattr(cures, "in_checkout", lambda: False)
        for seen in ("No module named 'gnuradio'", "No module named 'pmt'", "something else"):
            for other in (nowhere, lambda: "/opt/other/python"):
                cure = judge_radio(Probe(1, "", seen), other).cure
                assert "make" not in cure and "-m pip install" in cure, cure
        assert "/opt/other/python -m venv" in judge_radio(Probe(1, "", "No module named 'pmt'"), other).cure
        assert "pip install --force-reinstall" in judge_blocks(None, lambda folder: Probe(0, "[]", "")).cure

    def test_not_installed(self):
        finding = judge_radio(Probe(1, "", "ModuleNotFoundError: No module named 'gnuradio'"), nowhere)
        assert finding.state == WRONG and "apt-get install gnuradio" in finding.cure

    def test_installed_for_another_interpreter(self):
        said = Probe(1, "", "ModuleNotFoundError: No module named 'pmt'")
        finding = judge_radio(said, lambda: "/opt/other/python")
        assert finding.state == WRONG and "SEMCOM_PYTHON=/opt/other/python" in finding.cure

    @pytest.mark.parametrize(
        "seen",
        [
            Probe(0, GOOD_RADIO.replace("true", "false"), ""),
            Probe(1, "", "AttributeError: module 'pmt' has no attribute 'intern'"),
        ],
    )
    def test_the_other_pmt(self, seen):
        finding = judge_radio(seen, nowhere)
        assert finding.state == WRONG and "uninstall pmt" in finding.cure

    def test_too_old(self):
        finding = judge_radio(Probe(0, GOOD_RADIO.replace("3.10.5.1", "3.8.1.0"), ""), nowhere)
        assert finding.state == WRONG and "3.10" in finding.cure

    def test_crash_and_anything_else(self):
        assert judge_radio(Probe(-11, "", ""), nowhere).state == WRONG
        finding = judge_radio(Probe(1, "", "x\nImportError: libboost.so.1: cannot open"), nowhere)
        assert finding.state == WRONG and "libboost" in finding.found and finding.cure


class TestBlocks:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "semcom_one.block.yml").touch()
        (tmp_path / "semcom_two.block.yml").touch()
        return tmp_path

    def seen(self, **where):
        return lambda folder: Probe(0, json.dumps(list(where.items())), "")

    def test_all_seen(self, folder):
        where = {name: f"{folder}/{name}.block.yml" for name in ("semcom_one", "semcom_two")}
        assert judge_blocks(folder, self.seen(**where)).state == FINE

    def test_one_unseen(self, folder):
        finding = judge_blocks(folder, self.seen(semcom_one=""))
        assert finding.state == WRONG and "semcom_two" in finding.found and "GRC_BLOCKS_PATH" in finding.cure

    def test_another_copy_wins(self, folder):
        where = {
            "semcom_one": "/usr/share/semcom_one.block.yml",
            "semcom_two": f"{folder}/semcom_two.block.yml",
        }
        finding = judge_blocks(folder, self.seen(**where))
        assert finding.state == WRONG and "/usr/share/semcom_one.block.yml" in finding.cure

    def test_none_installed(self):
        assert judge_blocks(None, self.seen()).state == WRONG


class TestOthers:
    def test_torch_without_numpy(self, monkeypatch):
        monkeypatch.setattr(
            examination, "probe", lambda *_: Probe(1, "", "RuntimeError: Numpy is not available")
        )
        (finding,) = examination.torch()
        assert finding.state == WRONG and "numpy<2" in finding.cure

    def test_old_torch(self, monkeypatch):
        monkeypatch.setattr(examination, "probe", lambda *_: Probe(0, "1.13.1+cu117 2\n", ""))
        assert examination.torch()[0].state == WRONG

    def test_gpu_without_cuda_build(self, monkeypatch):
        monkeypatch.setattr(examination, "probe", lambda *_: Probe(0, "None\nFalse\n", ""))
        monkeypatch.setattr(examination.shutil, "which", lambda name, **_: "/usr/bin/nvidia-smi")
        (finding,) = examination.gpu()
        assert finding.state == NOTICE and "without CUDA" in finding.found

    def test_gpu_works(self, monkeypatch):
        monkeypatch.setattr(examination, "probe", lambda *_: Probe(0, "Some GPU\nTrue\n", ""))
        assert examination.gpu() == [Finding("GPU", FINE, "Some GPU")]

    def test_altered_weights(self, monkeypatch, tiny_model, tmp_path):
        from semcom.system import zoo

        for file in tiny_model.parent.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
        assert [f.state for f in examination.models()] == [FINE]
        with (tmp_path / "tiny.safetensors").open("ab") as file:
            file.write(b"x")
        (finding,) = examination.models()
        assert finding.state == WRONG and "sha256" in finding.found and finding.cure

    @pytest.mark.parametrize("missing", ["torchmetrics", "pyzmq", "sigmf", "typer"])
    def test_missing_package(self, monkeypatch, missing):
        import importlib.metadata

        real = importlib.metadata.version

        def version(name):
            if name == missing:
                raise importlib.metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(importlib.metadata, "version", version)
        (finding,) = examination.packages()
        assert finding.state == WRONG and finding.cure.endswith(f"pip install {missing}")

    def test_a_probe_of_a_program_that_is_not_there(self):
        assert examination.probe("pass", "/no/such/python").status != 0


def test_exit_status_and_json(monkeypatch):
    findings = [Finding("Python", FINE, "3.11"), Finding("numpy", WRONG, "2.0", "pip install 'numpy<2'")]
    monkeypatch.setattr(examination, "examine", lambda radio, link: findings)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1 and "cure: pip install" in done.stdout
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1 and json.loads(done.stdout)[1]["state"] == "wrong"
    monkeypatch.setattr(examination, "examine", lambda radio, link: findings[:1])
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0 and "All is well" in done.stdout


@pytest.mark.radio
def test_this_machine_has_a_radio_that_works():
    assert examination.gnuradio()[0].state == FINE
    assert examination.python()[0].found.startswith(".".join(map(str, sys.version_info[:3])))


@pytest.mark.radio
@pytest.mark.slow
def test_companion_sees_the_blocks_of_this_repository():
    assert examination.companion()[-1].state == FINE, examination.companion()[-1]


class TestRadios:
    def test_drivers_that_are_there_missing_and_broken(self):
        assert driver("usrp", lambda program: Probe(0, "3.10.5.1\n", "")).state == FINE
        missing = driver("soapy", lambda program: Probe(1, "", "ImportError: cannot import name 'soapy'"))
        assert missing.state == NOTICE and "soapysdr-tools" in missing.cure
        broken = driver("usrp", lambda program: Probe(-11, "", ""))
        assert broken.state == WRONG and "-11" in broken.found

    def test_devices_that_answer_and_a_driver_that_dies_over_one(self):
        found = devices("usrp", lambda program: Probe(0, 'chatter\n["type=b200,serial=30F"]\n', ""))
        assert found.state == FINE and "serial=30F" in found.found
        assert devices("usrp", lambda program: Probe(0, "null", "")).state == FINE
        assert devices("usrp", lambda program: Probe(-6, "", "terminate called")).state == WRONG

    def test_radios_on_usb_by_speed_permission_and_rules(self, tmp_path):
        device = tmp_path / "1-1"
        device.mkdir()
        texts = {"idVendor": "2500", "idProduct": "0020", "speed": "480", "busnum": "1", "devnum": "7"}
        for name, text in texts.items():
            (device / name).write_text(text + "\n")
        (tmp_path / "usb1").mkdir()
        (only,) = usb_radios(tmp_path)
        assert (only.name, only.speed_mbit, only.node) == ("USRP B200 or B210", 480, "/dev/bus/usb/001/007")
        slow = judge_usb(UsbRadio("USRP B200 or B210", 480, True, ""), True)
        assert slow.state == NOTICE and "USB 3 socket" in slow.cure
        assert judge_usb(UsbRadio("USRP B200 or B210", 5000, True, ""), True).state == FINE
        assert judge_usb(UsbRadio("ADALM-PLUTO", 480, True, ""), True).state == FINE
        shut = judge_usb(UsbRadio("USRP B200 or B210", 5000, False, "/dev/bus/usb/001/007"), False)
        assert shut.state == WRONG and "uhd-usrp.rules" in shut.cure and "/dev/bus/usb/001/007" in shut.found
        assert "group" in judge_usb(UsbRadio("ADALM-PLUTO", 480, False, ""), False).cure

    def test_rules(self, tmp_path):
        assert not has_rules([tmp_path])
        (tmp_path / "60-libuhd4.3.0.rules").write_text("")
        assert has_rules([tmp_path])

    def test_network_buffers(self):
        small = judge_buffers({"rmem_max": 212992, "wmem_max": 2**26}.get)
        assert small.state == NOTICE and small.cure == "sudo sysctl -w net.core.rmem_max=33554432"
        assert (
            judge_buffers(lambda name: 2**26).state == FINE and judge_buffers(lambda name: None).state == FINE
        )

    def test_real_time(self, monkeypatch):
        monkeypatch.setattr(radio_examination.os, "geteuid", lambda: 1000)
        refused = radio_examination.judge_real_time(0)
        assert refused.state == NOTICE and "rtprio" in refused.cure
        assert radio_examination.judge_real_time(99).state == FINE


class TestHome:
    @pytest.fixture(params=["missing", "a file"])
    def bad_home(self, request, tmp_path, monkeypatch):
        bad = tmp_path / "home"
        if request.param == "a file":
            bad.write_text("")
        monkeypatch.setenv("HOME", str(bad))
        return bad

    def test_a_folder_that_gnu_radio_cannot_write_is_wrong(self, bad_home):
        (finding,) = examination.home()
        assert finding.state == WRONG and str(bad_home) in finding.found and "HOME" in finding.cure

    @pytest.mark.parametrize("command", [["tx"], ["loopback", "{picture}"], ["rx", "--radio", "usrp"]])
    def test_commands_say_so_before_anything_starts(self, bad_home, command, picture_file):
        pytest.importorskip("gnuradio")
        arguments = [word.format(picture=picture_file) for word in command]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, result.output
        assert "GNU Radio cannot write its folder" in " ".join(result.output.split())

    def test_a_good_one_and_none_at_all(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert home.home_trouble() == "" and (tmp_path / ".gnuradio").is_dir()
        monkeypatch.delenv("HOME")
        assert home.home_trouble() == ""


class TestLink:
    def test_a_link_without_a_key_is_a_notice(self, tmp_path):
        link = tmp_path / "link.yaml"
        link.write_text("name: open\n")
        finding = examination.judge_link(link)
        assert finding.state == NOTICE and "anybody in range" in finding.found and "link-key" in finding.cure

    @pytest.mark.parametrize("cipher, state", [("scramble", FINE), ("none", NOTICE)])
    def test_a_link_with_a_key(self, tmp_path, cipher, state):
        tmp_path.chmod(0o700)
        make_key(str(tmp_path / "alice.key"))
        link = tmp_path / "link.yaml"
        link.write_text(f"name: closed\nkey: ./alice.key\ncipher: {cipher}\n")
        assert examination.judge_link(link).state == state
        (tmp_path / "alice.key").chmod(0o644)
        finding = examination.judge_link(link)
        assert finding.state == WRONG and "chmod 600" in finding.found
