# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs single blocks in a small flowgraph and records what they publish."""

import time


class Running:
    """A flowgraph that runs within ``with``, of one chain of stream blocks if any are given."""

    def __init__(self, *chain):
        from gnuradio import gr

        self.chain = chain  # GNU Radio does not keep a Python block alive
        self.top = gr.top_block("test", catch_exceptions=True)
        if chain:
            self.top.connect(*chain)

    def __enter__(self):
        self.top.start()
        return self

    def __exit__(self, *_):
        self.top.stop()
        self.top.wait()


class Bench(Running):
    """Runs one block with a recorder on each of its output ports."""

    def __init__(self, block, *ports):
        super().__init__()
        self.block, self.recorders = block, {}
        for port in ports:
            recorder = make_recorder()
            self.recorders[port] = recorder
            self.top.msg_connect((block, port), (recorder, "in"))
        if not ports:
            self.feeder = make_recorder()  # GNU Radio does not keep a Python block alive
            self.top.msg_connect((self.feeder, "out"), (block, "in"))

    def post(self, message, port="in"):
        """Posts a Pdu or a PMT."""
        import pmt

        from semcom.blocks import pdu as bridge

        message = bridge.to_message(message) if isinstance(message, bridge.Pdu) else message
        self.block.to_basic_block()._post(pmt.intern(port), message)

    def messages(self, port, count=1, timeout=10.0):
        """Waits for ``count`` messages at a port."""
        got = self.recorders[port].got
        wait_until(
            lambda: len(got) >= count,
            timeout,
            lambda: f"{count} messages at '{port}', got {len(got)}; counters {dict(self.block.counters)}",
        )
        return list(got)

    def count(self, words, at_least=1, timeout=10.0):
        """Waits until a counter whose reason contains ``words`` has got that far."""

        def total():
            return sum(n for reason, n in dict(self.block.counters).items() if words in reason)

        wait_until(
            lambda: total() >= at_least,
            timeout,
            lambda: f"a counter with {words!r}: {dict(self.block.counters)}",
        )
        return total()


def make_recorder():
    import pmt
    from gnuradio import gr

    class Recorder(gr.basic_block):
        def __init__(self):
            gr.basic_block.__init__(self, name="recorder", in_sig=None, out_sig=None)
            self.got = []
            self.message_port_register_in(pmt.intern("in"))
            self.message_port_register_out(pmt.intern("out"))
            self.set_msg_handler(pmt.intern("in"), self.take)

        def take(self, message):
            self.got.append(message)

    return Recorder()


def wait_until(condition, timeout, describe):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain for {describe()}")
        time.sleep(0.01)
