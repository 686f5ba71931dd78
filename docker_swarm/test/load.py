"""A steady light load, and what became of it.

Each server sends a snapshot a second, each stamped with a second of its own, and repeats it until it is acknowledged, as an agent does.
Points of one second tell afterwards what is stored of it: a point counts one snapshot, or there is a loss or a double.
"""

import http.client
import threading
import time

from suite import API, eventually

# Most points of an answer, so also most seconds of a load.
POINTS = 1000


class Sender(threading.Thread):
    def __init__(self, suite, enrolled, begun, stop):
        super().__init__(daemon=True)
        self.suite, self.begun, self.stop = suite, begun, stop
        self.server, self.credential = enrolled["server_id"], enrolled["credential"]
        # Seconds since the beginning that were acknowledged; statuses that were not 202, with when and what; answers.
        self.acknowledged, self.troubles, self.answers = set(), [], 0

    def run(self):
        connection = self.suite.connect()
        waiting = []
        for second in range(POINTS):
            pause = self.begun + second - time.time()
            if self.stop.wait(max(pause, 0)):
                break
            waiting.append(second)
            while waiting and self.send(connection, waiting[0]):
                self.acknowledged.add(waiting.pop(0))
        deadline = time.monotonic() + 60
        while waiting and time.monotonic() < deadline:
            if self.send(connection, waiting[0]):
                self.acknowledged.add(waiting.pop(0))
        if waiting:
            self.troubles.append((0, f"never acknowledged: {waiting}"))

    def send(self, connection, second):
        at = (int(self.begun) + second) * 1000
        body = {"interval_ms": 1000, "snapshots": [{"sampled_at": at, "covers_ms": 1000, "load": [1.0, 1.0, 1.0]}]}
        headers = {"authorization": f"Bearer {self.credential}"}
        since = time.time()
        try:
            status, _, answer = connection.ask("POST", "/healthcheck/v1/snapshots", body, headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            status, answer = type(error).__name__, error
        self.answers += 1
        if status == 202:
            return True
        self.troubles.append((status, f"{time.time() - self.begun:.1f} s, after {time.time() - since:.1f} s: {answer}"))
        self.stop.wait(0.2)
        return False


class Load:
    def __init__(self, suite, enrolled):
        self.suite, self.stop = suite, threading.Event()
        self.begun = int(time.time()) + 1
        self.senders = [Sender(suite, one, self.begun, self.stop) for one in enrolled]
        for sender in self.senders:
            sender.start()

    def troubles(self):
        """What was not 202, by answer."""
        counts = {}
        for sender in self.senders:
            for status, _ in sender.troubles:
                counts[status] = counts.get(status, 0) + 1
        return counts

    def end(self):
        self.stop.set()
        for sender in self.senders:
            sender.join(90)

    def acknowledged(self):
        return sum(len(sender.acknowledged) for sender in self.senders)

    def answers(self):
        return sum(sender.answers for sender in self.senders)

    def stored(self, sender):
        """Seconds that are stored, and how often each."""
        start = int(self.begun) * 1000
        path = f"servers/{sender.server}/snapshots?from={start}&to={start + POINTS * 1000}&points={POINTS}"
        points = self.suite.api("GET", path)["points"]
        return {(point["at"] - start) // 1000: point["count"] for point in points}

    def verify(self):
        """Nothing lost, nothing doubled, nothing that was never sent."""
        for sender in self.senders:
            complete = lambda: self.stored(sender).keys() >= sender.acknowledged
            eventually(f"all that {sender.server} was told is stored", complete, patience=60)
            stored = self.stored(sender)
            assert stored.keys() == sender.acknowledged, sorted(stored.keys() ^ sender.acknowledged)
            doubled = {second: count for second, count in stored.items() if count != 1}
            assert not doubled, doubled
        return sum(len(sender.acknowledged) for sender in self.senders)
