"""Uses the client that openapi-python-client makes of docs/openapi.json, as a program would.

    generated.py ADDRESS PASSWORD

Ends with a traceback if anything is not as it is documented.
"""

import sys
import time

from rollcall import AuthenticatedClient, Client
from rollcall.api.agents import send_snapshots
from rollcall.api.enrolment import enrol, make_token
from rollcall.api.reports import list_reports, make_report, show_report
from rollcall.api.servers import change_server, delete_server, list_servers, make_server, show_server
from rollcall.api.sessions import log_in
from rollcall.api.status import show_status
from rollcall.api.uptime import show_uptime
from rollcall.models import (
    Cpu,
    Facts,
    LogIn,
    MakeReport,
    MakeServer,
    MakeServerLabels,
    NewServer,
    NewToken,
    Problem,
    ReportFilter,
    SendSnapshots,
    ServerChange,
    Snapshot,
)

address, password = sys.argv[1:]
base = f"{address}/server-management/v1"


def same(found, expected):
    assert found == expected, f"{found!r}, not {expected!r}"


# A log-in.
refused = log_in.sync(client=Client(base_url=base), body=LogIn(username="admin", password="wrong"))
assert isinstance(refused, Problem), refused
same((refused.status, refused.code), (401, "unauthorized"))
assert refused.request_id, refused
tokens = log_in.sync(client=Client(base_url=base), body=LogIn(username="admin", password=password))
client = AuthenticatedClient(base_url=base, token=tokens.access_token)

# A server, from its making to its end.
labels = MakeServerLabels.from_dict({"site": "eu"})
made = make_server.sync_detailed(client=client, body=MakeServer(name="web-9", labels=labels))
same(made.status_code, 201)
server, etag = made.parsed, made.headers["ETag"]
same((server.name, server.labels["site"], server.status), ("web-9", "eu", "unknown"))
same((server.facts, server.latest), (None, None))
change = ServerChange(name="web-nine")
stale = change_server.sync_detailed(server.id, client=client, body=change, if_match='"0"')
same((stale.status_code, stale.parsed.code), (412, "precondition_failed"))
changed = change_server.sync_detailed(server.id, client=client, body=change, if_match=etag)
same((changed.status_code, changed.parsed.name), (200, "web-nine"))
assert changed.headers["ETag"] != etag
kept = delete_server.sync_detailed(server.id, client=client, if_match=etag)
same((kept.status_code, kept.parsed.code), (412, "precondition_failed"))
gone = delete_server.sync_detailed(server.id, client=client, if_match=changed.headers["ETag"])
same(gone.status_code, 204)
same(show_server.sync(server.id, client=client).code, "not_found")

# A host, by the door of the agents.
token = make_token.sync(client=client, body=NewToken(uses=1, expires_in=600)).token
host = NewServer(token=token, enrolment_key="a key that nobody knows", name="web-1")
issued = enrol.sync(client=Client(base_url=base), body=host)
gate = AuthenticatedClient(base_url=address, token=issued.credential)
now = time.time_ns() // 1_000_000
sample = Snapshot(sampled_at=now, covers_ms=30_000, host=Facts(hostname="web-1.internal"), cpu=Cpu(total=12.5))
accepted = send_snapshots.sync(client=gate, body=SendSnapshots(interval_ms=30_000, snapshots=[sample]))
same(accepted.accepted, 1)
sample.covers_ms = -1
refused = send_snapshots.sync(client=gate, body=SendSnapshots(interval_ms=30_000, snapshots=[sample]))
same((refused.code, [(one.index, one.code) for one in refused.refused]), ("invalid_body", [(0, "invalid_snapshot")]))
assert refused.now >= now, refused

found = show_server.sync(issued.server_id, client=client)
same((found.facts.hostname, found.latest.cpu.total, found.status), ("web-1.internal", 12.5, "up"))
listed = list_servers.sync_detailed(client=client)
same([item.name for item in listed.parsed.items], ["web-1"])
unchanged = list_servers.sync_detailed(client=client, if_none_match=listed.headers["ETag"])
same(unchanged.status_code, 304)
status = show_status.sync(client=client)
same((status.up, status.total), (1, 1))
same(show_uptime.sync(issued.server_id, client=client, to=now).uptime, 1.0)

# A report.
asked = make_report.sync_detailed(
    client=client,
    body=MakeReport(
        from_=now - 3_600_000,
        to=now,
        recipients=["ops@example.org"],
        filter_=ReportFilter(label=["site:eu"]),
        format_="csv",
    ),
)
same(asked.status_code, 202)
report = show_report.sync(asked.parsed.id, client=client)
same((report.filter_.label, report.format_), (["site:eu"], "csv"))
same([delivery.recipient for delivery in report.deliveries], ["ops@example.org"])
same(list_reports.sync(client=client).total, 1)
