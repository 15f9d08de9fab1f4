"""PROXY headers: what real proxies write, and everything else."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.policy.proxy import UNKNOWN, V1_LIMIT, V2_LIMIT, Malformed, Proxied, read_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = socket.inet_pton(socket.AF_INET, "192.0.2.7") + socket.inet_pton(socket.AF_INET, "192.0.2.1")
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
PORTS = struct.pack("!HH", 4711, 25)


def v2(command, kind, body):
    return SIGNATURE + struct.pack("!BBH", command, kind, len(body)) + body


GOOD = {
    "tcp4": (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n", "192.0.2.7", 4711),
    "tcp6": (b"PROXY TCP6 2001:DB8:0::7 2001:db8::1 65535 0\r\n", "2001:db8::7", 65535),
    "mapped": (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7", 1),
    "longest": (b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2 + [b"65535"] * 2) + b"\r\n", None, 65535),
    "unknown": (b"PROXY UNKNOWN\r\n", UNKNOWN, 0),
    "unknown and more": (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n", UNKNOWN, 0),
    "v2 inet": (v2(0x21, 0x11, FOUR + PORTS), "192.0.2.7", 4711),
    "v2 inet6": (v2(0x21, 0x21, SIX + PORTS), "2001:db8::7", 4711),
    "v2 with more": (v2(0x21, 0x11, FOUR + PORTS + b"\x04\x00\x02hi\x05\x00\x00"), "192.0.2.7", 4711),
    "v2 local": (v2(0x20, 0x00, b""), "", 0),
    "v2 local with whatever": (v2(0x20, 0x11, FOUR), "", 0),
    "v2 unspec": (v2(0x21, 0x00, b""), UNKNOWN, 0),
    "v2 unix": (v2(0x21, 0x31, bytes(216)), UNKNOWN, 0),
    "v2 longest": (v2(0x21, 0x11, FOUR + PORTS + b"\x04" + struct.pack("!H", V2_LIMIT - 31) + bytes(V2_LIMIT - 31)),
                   "192.0.2.7", 4711),
}  # fmt: skip


@pytest.mark.parametrize(("header", "address", "port"), GOOD.values(), ids=GOOD.keys())
def test_headers_of_proxies_are_read_and_nothing_behind_them(header, address, port):
    found = read_header(header + b"EHLO x\r\n")
    assert found == Proxied(address if address is not None else found.address, port, len(header))


@pytest.mark.parametrize("header", [good[0] for good in GOOD.values()], ids=GOOD.keys())
def test_until_its_last_octet_a_header_may_become_one(header):
    for cut in range(len(header)):
        assert read_header(header[:cut]) is None
    assert read_header(header) is not None


BAD = {
    "a greeting": b"EHLO x\r\n",
    "a TLS client": b"\x16\x03\x01\x02\x00\x01",
    "lower case": b"proxy TCP4 192.0.2.7 192.0.2.1 1 2\r\n",
    "bare LF": b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n",
    "two blanks": b"PROXY  TCP4 192.0.2.7 192.0.2.1 1 2\r\n",
    "a trailing blank": b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2 \r\n",
    "a bare CR": b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\r\n",
    "a command behind it": b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\rEHLO x\r\n",
    "UNKNOWN glued": b"PROXY UNKNOWNX\r\n",
    "another family": b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    "zeros in front": b"PROXY TCP4 192.0.02.7 192.0.2.1 1 2\r\n",
    "a port with zeros": b"PROXY TCP4 192.0.2.7 192.0.2.1 01 2\r\n",
    "a port too large": b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 2\r\n",
    "a scope": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "no destination": b"PROXY TCP4 192.0.2.7 1 2\r\n",
    "UDP": b"PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n",
    "other digits": "PROXY TCP4 192.0.2.7 192.0.2.1 ٣ 2\r\n".encode(),
    "eight bits": b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\xff\r\n",
    "no end": b"PROXY UNKNOWN " + b"x" * (V1_LIMIT - 14),
    "one octet too long": b"PROXY UNKNOWN " + b"x" * (V1_LIMIT - 15) + b"\r\n",
    "v2 that has hardly begun, of a command that is none": SIGNATURE + b"\x22",
    "v2 of version 1": v2(0x11, 0x11, FOUR + PORTS),
    "v2 command": v2(0x22, 0x11, FOUR + PORTS),
    "v2 family": v2(0x21, 0x41, FOUR + PORTS),
    "v2 transport": v2(0x21, 0x13, FOUR + PORTS),
    "v2 datagram": v2(0x21, 0x12, FOUR + PORTS),
    "v2 short": v2(0x21, 0x21, FOUR + PORTS),
    "v2 too long": SIGNATURE + struct.pack("!BBH", 0x21, 0x11, V2_LIMIT - 15),
    "v2 cut part": v2(0x21, 0x11, FOUR + PORTS + b"\x04\x00\x03hi"),
    "v2 half a part": v2(0x21, 0x11, FOUR + PORTS + b"\x04\x00"),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_no_proxy_writes_is_refused(data):
    with pytest.raises(Malformed):
        read_header(data)


@given(st.one_of(st.binary(max_size=300), st.builds(lambda a, b: a + b, st.sampled_from([b"PROXY ", SIGNATURE]),
                                                    st.binary(max_size=300))))  # fmt: skip
def test_whatever_comes_is_a_header_may_become_one_or_is_refused(data):
    try:
        found = read_header(data)
    except Malformed:
        return
    if found is None:
        assert len(data) < V2_LIMIT
    else:
        assert 0 < found.size <= len(data)
        assert read_header(data[: found.size]) == found


@given(st.binary(min_size=1, max_size=60), st.integers(0, 59))
def test_what_is_refused_stays_refused_however_much_follows(data, cut):
    try:
        read_header(data[: cut % len(data) + 1])
    except Malformed:
        with pytest.raises(Malformed):
            read_header(data)
