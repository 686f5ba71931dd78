"""Checks a deployed stack the way its users meet it. `docker_swarm/test/run` starts it; it stops at the first thing that is wrong."""

import argparse
import email
import email.policy
import hashlib
import http.client
import http.server
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

from load import Load
from suite import API, Connection, Suite, eventually

SERVICES = ["healthcheck-server", "healthcheck-worker", "server-management", "mail", "notifier"]
# Its own image writes beside its programs.
WRITES_ITS_ROOT = {"elasticsearch"}
SENDERS = 15
# Where messages of channels go to, on this host; each to a path of its own, since those to one place wait for each other.
HOOKS_PORT, CHANNELS, NOTIFIERS = 12580, 48, 6


def docker(*arguments):
    done = subprocess.run([os.environ["DOCKER"], *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"docker {' '.join(arguments[:2])}: {done.returncode} {done.stdout} {done.stderr}"
    return done.stdout.strip()


class Stack:
    def __init__(self, name):
        self.name = name

    def services(self):
        return docker("stack", "services", self.name, "--format", "{{.Name}}").split()

    def containers(self, service=None):
        """Ids of what runs, of one service or of all."""
        label = f"com.docker.swarm.service.name={self.name}_{service}" if service else f"com.docker.stack.namespace={self.name}"
        return docker("ps", "-q", "--no-trunc", "--filter", f"label={label}").split()

    def inspect(self, container, template):
        return docker("inspect", "--format", template, container)

    def secret(self, service, name):
        """A secret as the process has it: what this host's root may read."""
        pid = self.inspect(self.containers(service)[0], "{{.State.Pid}}")
        return pathlib.Path(f"/proc/{pid}/root/run/secrets/{name}").read_text()

    def kill(self, service):
        """Kills a process of a service that runs. The engine's own kill would be told to Swarm; a process that dies by itself is not."""
        def pid():
            # One that ended just now has none, and to kill process 0 is to kill this one.
            return next((pid for pid in (int(self.inspect(one, "{{.State.Pid}}")) for one in self.containers(service)) if pid), None)

        os.kill(eventually(f"{service} runs", pid), 9)

    def whole(self):
        lines = docker("stack", "services", self.name, "--format", "{{.Replicas}}").split("\n")
        counts = [line.split()[0].split("/") for line in lines]
        return all(runs == wanted for runs, wanted in counts)


def step(what):
    print(f"stack: {what}", flush=True)


def the_interface_answers(suite):
    eventually("the interface answers", lambda: suite.ask("GET", f"{API}/openapi.json")[0] == 200, patience=180)
    status, headers, page = suite.ask("GET", f"{API}/docs")
    assert status == 200 and b"<html" in page.lower(), status
    assert suite.ask("GET", "/")[0] == 200
    assert "max-age" in headers.get("Strict-Transport-Security", ""), headers


def nothing_else_is_reachable(suite, stack, plain_port):
    closed = ["/metrics", "/health/live", "/health/ready", "/healthcheck/metrics", "/dashboard/", "/api/rawdata", "/ping"]
    for path in closed:
        for method in ["GET", "POST"]:
            status = suite.ask(method, path)[0]
            assert status == 404, f"{method} {path}: {status}"
    # Another host's name leads nowhere, and neither does one that a header tells.
    assert suite.ask("GET", "/", headers={"host": "elsewhere.example"})[0] == 404
    status, headers, _ = Connection(http.client.HTTPConnection(suite.host, plain_port, timeout=10)).ask("GET", "/")
    assert status in (301, 308) and headers["Location"] == f"https://localhost:{suite.port}/", (status, headers)
    for service in stack.services():
        ports = docker("service", "inspect", "--format", "{{json .Endpoint.Ports}}", service)
        assert (ports not in ("null", "[]")) == service.endswith("_traefik"), f"{service} publishes {ports}"
    for port in [5672, 15672, 15692, 5432, 6379, 9200]:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0 or not ours(stack, port), f"{port} is open"


def ours(stack, port):
    listeners = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True).stdout
    return "docker-proxy" in listeners


def a_client_is_known_by_its_address(suite, stack):
    """Not by Traefik's, nor by one that it says of itself: log-ins are throttled by it."""
    lie = {"x-forwarded-for": "203.0.113.7", "x-real-ip": "203.0.113.7"}
    status = suite.ask("POST", f"{API}/sessions", {"username": "nobody", "password": "a wrong one"}, lie)[0]
    assert status == 401, status
    address = suite.api("GET", "audit?action=session.refuse")["items"][0]["actor"]["address"]
    traefik = stack.inspect(stack.containers("traefik")[0], "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}")
    assert address and address != "203.0.113.7" and address not in traefik.split(), address


def what_runs_is_confined(stack):
    seen = set()
    for container in stack.containers():
        name = stack.inspect(container, '{{index .Config.Labels "com.docker.swarm.service.name"}}').removeprefix(f"{stack.name}_")
        pid = stack.inspect(container, "{{.State.Pid}}")
        status = dict(line.split(":\t") for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert "0" not in status["Uid"].split(), f"{name} is root"
        for kind in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]:
            assert int(status[kind], 16) == 0, f"{name} has capabilities: {kind} {status[kind]}"
        mounts = [line.split() for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        root = next(mount for mount in mounts if mount[4] == "/")
        assert ("ro" in root[5].split(",")) != (name in WRITES_ITS_ROOT), f"{name}: its root is {root[5]}"
        secrets = [mount for mount in mounts if mount[4].startswith("/run/secrets/")]
        for mount in secrets:
            mode = os.stat(f"/proc/{pid}/root{mount[4]}").st_mode & 0o777
            assert mode == 0o400, f"{name}: {mount[4]} is {mode:o}"
        environment = pathlib.Path(f"/proc/{pid}/environ").read_text()
        for _, value in (line.split("=", 1) for line in environment.split("\0") if "=" in line):
            assert "://" not in value or "@" not in value, f"{name} has a password in its environment"
        seen.add(name)
    assert seen >= {*SERVICES, "traefik", "socket-proxy", "rabbitmq", "postgres", "redis", "elasticsearch"}, seen


def accounts_may_no_more_than_they_need(stack):
    redis, postgres, rabbitmq = (stack.containers(name)[0] for name in ["redis", "postgres", "rabbitmq"])

    def redis_says(service, *command):
        return docker("exec", redis, "redis-cli", "--no-auth-warning", "-u", stack.secret(service, "redis_url"), *command)

    for service, command in [
        ("healthcheck-server", ["SET", "rollcall:denylist", "x"]),
        ("healthcheck-server", ["GET", "rollcall:latest:x"]),
        ("healthcheck-worker", ["FLUSHALL"]),
        ("healthcheck-worker", ["GET", "rollcall:failures:x"]),
        ("server-management", ["CONFIG", "GET", "*"]),
        ("server-management", ["DEL", "rollcall:silent"]),
    ]:
        assert "NOPERM" in redis_says(service, *command), f"{service} may {command}"
    assert "NOAUTH" in docker("exec", redis, "redis-cli", "GET", "rollcall:denylist")

    def postgres_refuses(service, sql):
        url = stack.secret(service, "database_url")
        done = subprocess.run([os.environ["DOCKER"], "exec", "-i", postgres, "psql", "-q", url], input=sql, capture_output=True, text=True)
        assert "permission denied" in done.stderr, f"{service} may {sql}: {done.stdout} {done.stderr}"

    for sql in ["SELECT password_hash FROM users", "UPDATE servers SET generation = 0", "SELECT 1 FROM enrolment_tokens", "CREATE TABLE x ()"]:
        postgres_refuses("healthcheck-worker", sql)
        postgres_refuses("mail", sql)
        postgres_refuses("notifier", sql)
    postgres_refuses("mail", "SELECT secret FROM channels")
    postgres_refuses("notifier", "UPDATE channels SET secret = NULL")
    postgres_refuses("mail", "UPDATE sightings SET silent_at = 0")
    rights = docker("exec", rabbitmq, "rabbitmqctl", "-q", "list_permissions", "--no-table-headers")
    assert "gate\t^$\t^amq\\.default$\t^$" in rights, rights
    users = docker("exec", rabbitmq, "rabbitmqctl", "-q", "list_users", "--no-table-headers")
    assert "guest" not in users, users


def setup_again_changes_nothing(stack, setup):
    def versions():
        specs = [docker("service", "inspect", "--format", "{{.ID}} {{json .Spec}}", service) for service in sorted(stack.services())]
        return specs, docker("secret", "ls", "-q"), docker("config", "ls", "-q"), sorted(stack.containers())

    before = versions()
    subprocess.run([setup], check=True, stdout=subprocess.DEVNULL)
    after = versions()
    assert before == after, "setup changed something"


def the_agent_reports(suite, stack, setup):
    """Agents on every node, by their token alone."""
    token = suite.api("POST", "enrolment-tokens", {"uses": 1}, expect=201)["token"]
    pathlib.Path("token").write_text(token)
    subprocess.run([setup], check=True, stdout=subprocess.DEVNULL, env={**os.environ, "ROLLCALL_TOKEN_FILE": "token"})
    name = docker("info", "--format", "{{.Name}}")

    def up():
        found = suite.api("GET", f"servers?name={name}")["items"]
        return found and found[0]["status"] == "up" and found[0]

    server = eventually(f"{name} is up", up)
    latest = eventually("its measurements", lambda: suite.api("GET", f"servers/{server['id']}")["latest"])
    assert latest["memory"]["total"] > 2**28 and latest["networks"], latest
    now = int(time.time() * 1000)
    uptime = eventually("its uptime", lambda: suite.api("GET", f"servers/{server['id']}/uptime?from={now - 3600_000}&to={now}"))
    assert uptime["uptime"] is None or uptime["uptime"] > 0.9, uptime
    return server


def nothing_is_late_or_dead(suite):
    status = suite.api("GET", "status")
    assert status["dead_letters"] == 0 and status["mail_dead_letters"] == 0 and not status["late"], status


def a_report_is_mailed(suite, mails):
    now = int(time.time() * 1000)
    body = {"from": now - 3600_000, "to": now, "recipients": ["manager@example.org"]}
    report = suite.api("POST", "reports", body, expect=202)["id"]

    def sent():
        state = suite.api("GET", f"reports/{report}")
        return state["deliveries"] and state["deliveries"][0]["state"] == "sent"

    eventually("the report is sent", sent)
    (path,) = eventually("the mail", lambda: list(pathlib.Path(mails).glob("*.eml")))
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert mail["To"] == "manager@example.org" and mail["From"] and mail["Message-ID"], mail.items()
    names = [part.get_filename() or "" for part in mail.iter_attachments()]
    assert any(name.endswith(".xlsx") for name in names), names
    assert docker("info", "--format", "{{.Name}}") in mail.get_body(("plain",)).get_content()


def the_agent_can_be_installed(suite):
    status, _, script = suite.ask("GET", "/install.sh")
    assert status == 200 and f"suite='https://localhost:{suite.port}'".encode() in script, (status, script[:300])
    machine = os.uname().machine
    status, _, binary = suite.ask("GET", f"{API}/agents/{machine}")
    assert status == 200 and hashlib.sha256(binary).hexdigest().encode() in script, status


def updates_and_kills_cost_nothing(suite, stack, enrolled):
    load = Load(suite, enrolled)
    eventually("a beat", lambda: all(sender.acknowledged for sender in load.senders), patience=30)
    counts = {}
    for service in SERVICES:
        before = load.troubles()
        docker("service", "update", "--force", "--detach=false", "-q", f"{stack.name}_{service}")
        counts[f"update of {service}"] = difference(before, load.troubles())
    for service in [*SERVICES, "redis", "rabbitmq", "postgres"]:
        before = load.troubles()
        stack.kill(service)
        eventually(f"{service} was seen to be gone", lambda: not stack.whole(), patience=30, every=0.1)
        eventually(f"{service} is back", stack.whole, patience=240)
        eventually("beats go through", lambda: beats(load), patience=60)
        counts[f"kill of {service}"] = difference(before, load.troubles())
    load.end()
    acknowledged = load.verify()
    for what, troubles in counts.items():
        step(f"  {what}: {troubles or 'no answer but 202'}")
    step(f"  {load.answers()} requests, {acknowledged} snapshots acknowledged, 0 lost, 0 doubled")
    # A client may see that the broker's only node is gone, and a request may be in the hands of a gate that dies.
    may_be_seen = {"kill of rabbitmq", "kill of healthcheck-server"}
    seen = {what: troubles for what, troubles in counts.items() if what not in may_be_seen and troubles}
    assert not seen, [sender.troubles for sender in load.senders if sender.troubles]


class Hooks(http.server.ThreadingHTTPServer):
    """Takes down each message before it answers, and takes its time to answer: whoever is killed meanwhile knows of no answer."""

    daemon_threads = True

    def __init__(self, address):
        self.taken = []
        super().__init__((address, HOOKS_PORT), Hook)


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append(self.headers["webhook-id"])
        time.sleep(0.5)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def six_notifiers_tell_once_whoever_is_killed(suite, stack, gateway):
    docker("service", "scale", "--detach=false", f"{stack.name}_notifier={NOTIFIERS}")
    with Hooks(gateway) as hooks:
        threading.Thread(target=hooks.serve_forever, daemon=True).start()
        for number in range(CHANNELS):
            secret = {"url": f"http://{gateway}:{HOOKS_PORT}/{number}"}
            channel = {"name": f"hook {number}", "kind": "webhook", "config": {"form": "standard"}, "secret": secret}
            made = suite.api("POST", "channels", channel, expect=201)
            suite.api("POST", f"channels/{made['id']}/test", expect=202)
            if number % (CHANNELS // NOTIFIERS) == 0:
                stack.kill("notifier")

        def settled():
            items = suite.api("GET", f"notifications?page_size={CHANNELS}")["items"]
            return all(item["state"] not in ("queued", "sending") for item in items) and items

        items = eventually("each message is settled", settled, patience=240)
        hooks.shutdown()
    sent = {item["message_id"] for item in items if item["state"] == "sent"}
    lost = [item for item in items if item["state"] not in ("sent", "unknown")]
    assert len(items) == CHANNELS and not lost, lost
    assert len(set(hooks.taken)) == len(hooks.taken), "a message was sent twice"
    assert sent <= set(hooks.taken), sent - set(hooks.taken)
    step(f"  {NOTIFIERS} kills: {len(sent)} of {CHANNELS} sent, each once; of {CHANNELS - len(sent)} nobody knows, and they were not sent again")
    assert len(sent) >= CHANNELS // 2, items
    eventually("all notifiers are back", stack.whole, patience=120)
    docker("service", "scale", "--detach=false", f"{stack.name}_notifier=2")


def beats(load):
    """Whether for a while every answer is 202."""
    acknowledged, troubles = load.acknowledged(), load.troubles()
    time.sleep(3)
    return load.acknowledged() - acknowledged >= 2 * SENDERS and load.troubles() == troubles


def difference(before, after):
    return {status: count - before.get(status, 0) for status, count in after.items() if count != before.get(status, 0)}


def main():
    parser = argparse.ArgumentParser()
    for name in ["stack", "port", "plain-port", "authority", "password", "mails", "setup", "gateway"]:
        parser.add_argument(f"--{name}", required=True)
    told = parser.parse_args()
    suite, stack = Suite("localhost", int(told.port), told.authority), Stack(told.stack)
    step("the interface answers")
    the_interface_answers(suite)
    step("nothing else is reachable")
    nothing_else_is_reachable(suite, stack, int(told.plain_port))
    suite.log_in(pathlib.Path(told.password).read_text().strip())
    step("a client is known by its address")
    a_client_is_known_by_its_address(suite, stack)
    step("what runs is confined")
    what_runs_is_confined(stack)
    step("accounts may no more than they need")
    accounts_may_no_more_than_they_need(stack)
    step("setup again changes nothing")
    setup_again_changes_nothing(stack, told.setup)
    step("the agent of the node reports")
    the_agent_reports(suite, stack, told.setup)
    nothing_is_late_or_dead(suite)
    step("a report is mailed")
    a_report_is_mailed(suite, told.mails)
    step("the agent can be installed")
    the_agent_can_be_installed(suite)
    step("six notifiers, killed while they send")
    six_notifiers_tell_once_whoever_is_killed(suite, stack, told.gateway)
    step("updates and kills under load")
    token = suite.api("POST", "enrolment-tokens", {"uses": SENDERS}, expect=201)["token"]
    enrolled = [suite.enrol(token, f"load-{number}") for number in range(SENDERS)]
    updates_and_kills_cost_nothing(suite, stack, enrolled)
    nothing_is_late_or_dead(suite)


if __name__ == "__main__":
    sys.exit(main())
