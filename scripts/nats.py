"""A NATS client as small as the demo needs: publish, request with many answers, JetStream publish. No TLS, no auth."""

import json
import os
import socket


class Nats:
    def __init__(self, port, timeout_s=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.reader = self.socket.makefile("rb")
        self.inbox = f"_INBOX.{os.urandom(12).hex()}"
        self.count = 0
        self.reader.readline()  # INFO
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        options |= {"lang": "python", "version": "0"}
        self._send(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox}.* 1\r\nPING\r\n".encode())
        while (line := self.reader.readline()) != b"PONG\r\n":
            if line.startswith(b"-ERR") or not line:
                raise ConnectionError(line.decode() or "NATS closed the connection")

    def _send(self, data):
        self.socket.sendall(data)

    def _publish(self, subject, payload, headers):
        self.count += 1
        reply = f"{self.inbox}.{self.count}"
        head = "NATS/1.0\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers.items()) + "\r\n"
        total = len(head) + len(payload)
        self._send(f"HPUB {subject} {reply} {len(head)} {total}\r\n{head}".encode() + payload + b"\r\n")
        return reply

    def _messages(self, reply):
        """Messages to one inbox, as (headers, body); others are dropped: one conversation at a time."""
        while line := self.reader.readline():
            words = line.decode().split()
            if words[:1] == ["PING"]:
                self._send(b"PONG\r\n")
            if words[:1] == ["-ERR"]:
                raise ConnectionError(line.decode().strip())
            if words[:1] not in (["MSG"], ["HMSG"]):
                continue
            data = self.reader.read(int(words[-1]) + 2)[:-2]
            head_bytes = int(words[-2]) if words[0] == "HMSG" else 0
            if words[1] == reply:
                yield headers_of(data[:head_bytes]), data[head_bytes:]
        raise ConnectionError("NATS closed the connection")

    def request(self, subject, body, **headers):
        """Yields every answer as parsed JSON; the caller stops when it has what it wants."""
        names = {key.replace("_", "-"): value for key, value in headers.items()}
        reply = self._publish(subject, json.dumps(body).encode(), names)
        for given, payload in self._messages(reply):
            if given.get("status") == "503":
                raise ConnectionError(f"no service listens to {subject}")
            if given.get("Forebay-Kind") == "heartbeat":
                continue
            yield json.loads(payload)

    def run(self, job, prefix="forebay"):
        """Submits a job. Returns what it was accepted as, and an iterator over its records."""
        answers = self.request(f"{prefix}.run", job)
        accepted = next(answers)
        if "error" in accepted:
            raise ConnectionError(accepted["error"]["message"])
        return accepted, answers

    def publish_job(self, job, gateway="default", prefix="forebay"):
        """Publishes into the work queue; returns JetStream's own acknowledgement."""
        return next(self.request(f"{prefix}.jobs.{gateway}", job))

    def close(self):
        self.socket.close()


def headers_of(head):
    lines = head.decode().split("\r\n")
    found = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    status = lines[0].removeprefix("NATS/1.0").split()
    return found | ({"status": status[0]} if status else {})
