"""Nobody breaks the house rules, and each rule would notice if somebody did."""

from __future__ import annotations

import ast

import pytest

from tests import house_rules
from tests.house_rules import RULES, Check, Rule

_CAUGHT: list[tuple[Check, str]] = [
    (house_rules.nats_import, "import nats.js"),
    (house_rules.nats_import, "from nats import connect"),
    (house_rules.aiodocker_import, "def f():\n    import aiodocker"),
    (house_rules.prometheus_import, "from prometheus_client import Gauge"),
    (house_rules.subject_literal, "s = 'lattice.node.n1.deploy'"),
    (house_rules.subject_literal, "s = f'lattice.evt.{project}.>'"),
    (house_rules.environment_read, "import os\nos.environ['HOME']"),
    (house_rules.environment_read, "from os import getenv"),
    (house_rules.shell, "subprocess.run('ls', shell=True)"),
    (house_rules.shell, "subprocess.run('ls', shell=flag)"),
    (house_rules.shell, "os.system('ls')"),
    (house_rules.shell, "asyncio.create_subprocess_shell('ls')"),
    (house_rules.sleep_in_unit_test, "time.sleep(1)"),
    (house_rules.sleep_in_unit_test, "from time import sleep"),
    (house_rules.skipped_test, "@pytest.mark.skipif(True)\ndef test(): ..."),
    (house_rules.skipped_test, "pytest.skip('later')"),
    (house_rules.chance_in_decision, "now = datetime.now(UTC)"),
    (house_rules.chance_in_decision, "from uuid import uuid4\nuuid4()"),
    (house_rules.chance_in_decision, "import random"),
    (house_rules.chance_in_decision, "from time import monotonic"),
]
_ALLOWED: list[tuple[Check, str]] = [
    (house_rules.nats_import, "from lattice.bus import Bus\nfrom . import nats_server"),
    (house_rules.subject_literal, "LABEL = 'lattice.cluster'\nIMAGE = 'lattice.local/redis'"),
    (house_rules.subject_literal, "def f():\n    'Publishes lattice.node.<id>.deploy.'"),
    (house_rules.shell, "subprocess.run(['ls'], shell=False)"),
    (house_rules.sleep_in_unit_test, "await asyncio.sleep(0)"),
    (house_rules.chance_in_decision, "def f(now: datetime) -> bool: return now > limit"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.check.__name__)
def test_nobody_breaks_the_rule(rule: Rule) -> None:
    assert not rule.broken(), rule.check.__doc__


@pytest.mark.parametrize(("check", "code"), _CAUGHT)
def test_the_rule_catches(check: Check, code: str) -> None:
    assert list(check(ast.parse(code)))


@pytest.mark.parametrize(("check", "code"), _ALLOWED)
def test_the_rule_allows(check: Check, code: str) -> None:
    assert not list(check(ast.parse(code)))


def test_every_rule_is_tried_out() -> None:
    assert {rule.check for rule in RULES} == {check for check, _ in _CAUGHT}
