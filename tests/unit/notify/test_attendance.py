"""An instance that goes without a word is told once, and its return."""

from __future__ import annotations

import msgspec

from livermore_dagster.clock import SystemClock
from livermore_dagster.control.registry import InstanceView
from livermore_dagster.control.states import InstanceState
from livermore_dagster.control.status import ClaimFacts, InstanceStatus
from livermore_dagster.incidents import IncidentName, Severity
from livermore_dagster.notify.instances import Attendance
from livermore_dagster.notify.system_words import Conflation
from livermore_dagster.stores.redis.metrics import Incident

STATUS = InstanceStatus(
    exchange_id=2, exchange_name="binance", instance_id="i", connection_state=InstanceState.ACTIVE,
    hostname="box", ip_address="", admin_email="", admin_display_name="", symbol_count=3, paused=False,
    connected_at=None, registered_at=0, last_heartbeat=1_767_225_600_000, last_state_change=0,
    last_error=None, last_error_at=None, token="", machine_id="m", pid=1, pid_start_time="0", run_id=None,
)  # fmt: skip
GONE = InstanceView(2, "binance", None, STATUS)
LIVE = InstanceView(2, "binance", ClaimFacts(STATUS, 40_000, gone=False), STATUS)


def test_gone_is_told_after_a_minute_and_back_after_that() -> None:
    attendance = Attendance(simulated=False)
    told = [attendance.look(view) for view in (LIVE, GONE, LIVE, GONE, GONE, GONE, GONE, GONE, LIVE, LIVE)]
    assert [notice.title if notice else None for notice in told] == [
        None, None, None, None, None, None, "binance is offline", None, "binance is back: active", None,
    ]  # fmt: skip


def test_a_move_to_another_home_is_told_at_once() -> None:
    def held(home: str) -> InstanceView:
        status = msgspec.structs.replace(STATUS, home=home, token=home)
        return InstanceView(2, "binance", ClaimFacts(status, 40_000, gone=False), status)

    attendance = Attendance(simulated=False)
    views = (held("box:/one"), GONE, held("box:/one"), held("cellar:/two"), held("cellar:/two"))
    told = [notice for notice in map(attendance.look, views) if notice is not None]
    assert len(told) == 1
    assert told[0].title == "binance has moved to box"
    assert "home /two holds it now" in told[0].text
    assert "home /one did" in told[0].text


def test_incidents_are_told_once_in_ten_minutes_six_in_all_and_counted() -> None:
    class Hand(SystemClock):
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    def error(name: IncidentName, text: str = "it happened") -> Incident:
        return Incident("1-0", name.value, 2, text, Severity.ERROR, {})

    clock = Hand()
    conflation = Conflation(clock, simulated=True)
    names = [*IncidentName][:10]
    told = [conflation.notice(error(name), "Binance") for name in names for _ in range(3)]
    assert sum(notice is not None for notice in told) == 6
    assert told[0] is not None
    assert told[0].title.startswith("SIMULATED · Livermore: http 429 on Binance")
    clock.now = 601.0
    again = conflation.notice(error(names[0]), "Binance")
    assert again is not None
    assert "2 more like this" in again.text
