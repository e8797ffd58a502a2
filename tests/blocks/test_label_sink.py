# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np

from semcom import blocks, keys
from semcom.blocks.pdu import Pdu


def label_pdu(number, label=2):
    probabilities = np.full(4, 0.1, np.float32)
    probabilities[label] = 0.7
    return Pdu({keys.IMAGE_ID: number, keys.LABEL: label, keys.CONFIDENCE: 0.7}, probabilities)


def test_labels_are_kept_written_and_counted(bench, tmp_path):
    sink = blocks.label_sink(folder=str(tmp_path))
    with bench(sink, "done") as b:
        b.post(label_pdu(7))
        b.count("labels written")
        b.post(Pdu({keys.HEIGHT: 1, keys.WIDTH: 1}, np.zeros(3, np.uint8)))
        b.count("without a label")
    assert (tmp_path / "labels.csv").read_text() == "sender,image_id,label,confidence\n0,7,2,0.7000\n"
    assert sink.counters[sink.written] == 1 and sink.kept[0][0][keys.IMAGE_ID] == 7


def test_a_label_at_a_sink_of_pictures_is_counted_and_the_next_picture_written(bench, tmp_path):
    sink = blocks.image_sink(folder=str(tmp_path))
    with bench(sink, "done") as b:
        b.post(label_pdu(7))
        b.count("label PDU, which is no picture: take a label_sink")
        b.post(Pdu({keys.IMAGE_ID: 8, keys.HEIGHT: 1, keys.WIDTH: 1}, np.zeros(3, np.uint8)))
        b.messages("done")
    assert [path.name for path in tmp_path.iterdir()] == ["00008.png"]


def test_what_cannot_be_written_is_counted_as_such(bench, tmp_path):
    """A receiving station looks at the sink's own words to say that something was not written."""
    sink = blocks.label_sink(folder=str(tmp_path))
    (tmp_path / "labels.csv").mkdir()
    with bench(sink, "done") as b:
        b.post(label_pdu(7))
        b.count(sink.not_written)
    assert not sink.counters[sink.written]
