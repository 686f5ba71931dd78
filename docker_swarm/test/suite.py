"""The suite as its users reach it: over HTTPS, through Traefik."""

import http.client
import json
import ssl
import time

API = "/server-management/v1"


class Suite:
    """One address, and who asks. Each thread takes a `Connection` of its own."""

    def __init__(self, host, port, authority):
        self.host, self.port = host, port
        self.tls = ssl.create_default_context(cafile=authority)
        self.token = None

    def connect(self):
        return Connection(http.client.HTTPSConnection(self.host, self.port, timeout=60, context=self.tls))

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body; the body is parsed where it is JSON."""
        connection = self.connect()
        try:
            return connection.ask(method, path, body, {**self.authorization(), **(headers or {})})
        finally:
            connection.close()

    def api(self, method, path, body=None, expect=200):
        status, _, answer = self.ask(method, f"{API}/{path}", body)
        if status != expect:
            raise AssertionError(f"{method} {path}: {status} {answer}, not {expect}")
        return answer

    def authorization(self):
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def log_in(self, password):
        session = self.api("POST", "sessions", {"username": "admin", "password": password})
        self.token = session["access_token"]

    def enrol(self, token, name):
        body = {"token": token, "enrolment_key": f"key-of-{name}-0123456789", "name": name}
        return self.api("POST", "enrolments", body, expect=201)


class Connection:
    def __init__(self, http):
        self.http = http

    def ask(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("content-type", "application/json")
            body = json.dumps(body)
        self.http.request(method, path, body, headers)
        answer = self.http.getresponse()
        content = answer.read()
        if "json" in (answer.getheader("content-type") or ""):
            content = json.loads(content)
        return answer.status, dict(answer.getheaders()), content

    def close(self):
        self.http.close()


def eventually(what, holds, patience=120, every=0.5):
    """The first true answer of `holds`; fails with its last one."""
    deadline = time.monotonic() + patience
    while True:
        try:
            last = holds()
        except (OSError, http.client.HTTPException, AssertionError) as error:
            last, failed = error, True
        else:
            failed = False
        if last and not failed:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"after {patience} s still not: {what} ({last!r})")
        time.sleep(every)
