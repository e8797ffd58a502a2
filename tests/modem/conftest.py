# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
import torch

from semcom.modem import Modem


@pytest.fixture(scope="session")
def modem():
    return Modem()


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
