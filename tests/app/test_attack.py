"""What an attacker found to hold, holds."""

from . import attack


def test_a_small_attack_breaks_nothing(served):
    met = attack.Attack(served, attack.SMALL).run()

    assert met["broken"] == []
    assert met["clients served"] >= 1
    assert met["clients served"] + met.get("clients told to wait", 0) == attack.SMALL.clients
    assert met["new sessions"] == attack.SMALL.sessions
