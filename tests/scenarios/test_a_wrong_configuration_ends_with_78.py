"""A configuration that is wrong: exit 78 and a line per error that names the path; nothing is started or made."""

import os
import subprocess

import pytest

from tests.harness.mta_server import MtaServer


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"relay": {"networks": ["127.0.0.0/8", "10.0.0.0/99"]}}, 'relay.networks[1]: "10.0.0.0/99" is not a network'),
        ({"delivery": {"retry_afer": ["1s"]}}, "delivery.retry_afer"),
        ({"workers": "two"}, "workers"),
        ({"limits": {"message_size": "50 potatoes"}}, "limits.message_size"),
        ({"route": [{"domain": "*", "to": "http://x"}]}, "route[0].to"),
        ({"listener": [{"address": "127.0.0.1"}]}, "listener[0].address"),
    ],
)
def test_a_wrong_configuration_ends_with_78(tmp_path, settings: dict, said: str) -> None:
    server = MtaServer(tmp_path, **settings)
    checked = server.mta("check")
    assert checked.returncode == os.EX_CONFIG
    assert said in checked.stderr
    assert len(checked.stderr.splitlines()) == 1
    server.begin()
    assert server.wait() == os.EX_CONFIG
    assert [line for line in server.stderr if said in line]
    assert not any("Traceback" in line for line in server.stderr)
    assert not server.data.exists()


def test_every_error_has_its_line(tmp_path) -> None:
    server = MtaServer(tmp_path, workers=0, limits={"hops": -1}, colour="green")
    done = server.mta("check")
    assert done.returncode == os.EX_CONFIG
    assert len(done.stderr.splitlines()) == 3


def test_a_port_that_is_taken_is_named(mta, tmp_path) -> None:
    first = mta()
    second = MtaServer(tmp_path / "second", listener=[{"address": f"127.0.0.1:{first.port}"}])
    second.begin()
    assert second.wait() == os.EX_UNAVAILABLE
    assert f"127.0.0.1:{first.port}" in "".join(second.stderr)
    assert not any("Traceback" in line for line in second.stderr)


def test_a_good_file_is_said_to_be_good(tmp_path) -> None:
    done: subprocess.CompletedProcess[str] = MtaServer(tmp_path).mta("check")
    assert done.returncode == 0
