"""The policy that mta/policy/INTERNALS.md shows is what it says: it loads, and decides as a reader would expect."""

import re
from pathlib import Path

from mta.config import parse
from mta.services.hooking import load_policies
from mta.services.replay import Step, read_record, replay

PAGE = (Path(__file__).parents[3] / "mta/policy/INTERNALS.md").read_text()
RECORD = """
from: 198.51.100.7
C: EHLO stranger
C: EHLO stranger.example
C: MAIL FROM:<>
C: RCPT TO:<honeypot@minasi.example>
C: RCPT TO:<joe@minasi.example>
C: DATA
C: Subject: cheap potatoes
C: .
C: MAIL FROM:<>
C: RCPT TO:<joe@minasi.example>
C: DATA
C: Subject: dear potatoes
C: .
C: QUIT
"""


async def test_the_example_policy_decides_as_it_is_read(tmp_path):
    [toml] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    [python] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "house_rules.py").write_text(python)
    config = parse(toml.replace("/etc/mta/policies", str(tmp_path)))
    policies = load_policies(config)
    steps = [step async for step in replay(policies, read_record(RECORD))]
    name = "house_rules:HouseRules"
    assert [step for step in steps if step.stage] == [
        Step("hello", name, "rejects: 550 5.7.1 say your full name"),
        Step("hello", name, "no opinion"),
        Step("mail", name, "adds X-House-Sender: nobody"),
        Step("rcpt", name, "redirects to trap@minasi.example"),
        Step("rcpt", name, "no opinion"),
        Step("content", name, "rejects: 554 5.7.1 not in this house"),
        Step("mail", name, "adds X-House-Sender: nobody"),
        Step("rcpt", name, "no opinion"),
        Step("content", name, "adds X-House-Size: 24"),
    ]
