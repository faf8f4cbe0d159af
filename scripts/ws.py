"""A WebSocket client (RFC 6455) as small as the demo needs, and a reader of one job on top of it."""

import base64
import hashlib
import json
import os
import socket
import struct

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CREDIT_BYTES = 256 * 1024


class Closed(ConnectionError):
    """The other side is gone, politely or not."""


class Refused(Exception):
    """The broker's own error: trying again as before would not help."""


class WebSocket:
    """One connection. Pings are answered while reading; a frame or a hang-up is all that `receive` can give."""

    def __init__(self, port, path="/v1/ws", protocol="forebay.v1.json", timeout_s=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.reader = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16))
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
        )
        status, headers = self.reader.readline().decode().strip(), {}
        while line := self.reader.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        wanted = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
        if " 101 " not in f"{status} " or headers.get("sec-websocket-accept") != wanted:
            raise Closed(f"no WebSocket: {status or 'hung up'}")

    def _frame(self, opcode, payload):
        mask = os.urandom(4)
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.socket.sendall(bytes([0x80 | opcode]) + length + mask + masked)

    def send(self, **message):
        self._frame(TEXT, json.dumps(message).encode())

    def _exactly(self, count):
        data = self.reader.read(count)
        if len(data) < count:
            raise Closed("hung up")
        return data

    def receive(self):
        """The next message: (parsed JSON, bytes). Raises `Closed`."""
        whole = b""
        while True:
            try:
                first, second = self._exactly(2)
                size = second & 0x7F
                if size >= 126:
                    size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
                payload = self._exactly(size)
            except OSError as error:
                raise Closed(str(error)) from None
            opcode = first & 0x0F
            if opcode == CLOSE:
                raise Closed(f"closed with {int.from_bytes(payload[:2], 'big')}")
            if opcode == PING:
                self._frame(PONG, payload)
            if opcode in (0, TEXT, BINARY):
                whole += payload
                if first & 0x80:
                    return json.loads(whole), len(whole)

    def cut(self):
        """Hangs up as a lost network does: no close frame, a reset instead of an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.reader.close()
        self.socket.close()


class Reader:
    """Follows one job. Remembers its cursor, so `records` may be called again after any hang-up."""

    def __init__(self, port, job):
        self.port, self.job, self.cursor = port, job, "-1"
        self.records_seen, self.end, self.socket = [], None, None

    def follow(self):
        """Yields frames (lists of records) until the stream's end. Raises `Closed` or the server's error. The cursor
        names the place after a frame, so a frame counts as read when it is handed out, as a whole."""
        self.socket = WebSocket(self.port)
        self.socket.send(type="hello", client="demo")
        self.socket.send(type="subscribe", sub="a", id=self.job, cursor=self.cursor, credit=CREDIT_BYTES)
        while True:
            message, size = self.socket.receive()
            if message["type"] == "events":
                self.socket.send(type="credit", sub="a", add=size)
                self.records_seen += message["items"]
                self.cursor = message["cursor"]
                yield message["items"]
            elif message["type"] == "end":
                self.cursor, self.end = message["cursor"], message["state"]
                return
            elif message["type"] == "error":
                raise Refused(message["error"]["message"])
            elif message["type"] == "goaway":
                raise Closed("the broker is going away")

    def cut(self):
        self.socket.cut()
