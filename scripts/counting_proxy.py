"""Stands between the broker and the provider and counts the requests that get through: the provider's view of the bill.

On request it cuts an answer off in the middle, as a network does.
"""

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class CountingProxy:
    """Forwards every request to `target_port`, streaming; `prompts` holds the prompt of each POST in order, `bodies` their
    whole bodies. `cut_after` = so many events reach the broker of the next answer, then the connection breaks."""

    def __init__(self, target_port):
        self.prompts = []
        self.bodies = []
        self.cut_after = None
        self.server = Server(("127.0.0.1", 0), handler(self, target_port))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def count(self, prompt=None):
        return len(self.prompts) if prompt is None else self.prompts.count(prompt)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client or a provider that hung up is part of the demo, not news."""


def prompt_of(body):
    """The text of the last message: what tells the demo's jobs apart."""
    request = json.loads(body)
    return (request.get("messages") or request["input"])[-1]["content"]


def handler(proxy, target_port):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            proxy.prompts.append(prompt_of(body))
            proxy.bodies.append(json.loads(body))
            cut_after, proxy.cut_after = proxy.cut_after, None
            upstream = http.client.HTTPConnection("127.0.0.1", target_port, timeout=120)
            try:
                upstream.request("POST", self.path, body, {"content-type": "application/json"})
                answer = upstream.getresponse()
                self.send_response(answer.status)
                self.send_header("content-type", answer.getheader("content-type", "application/json"))
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                while piece := answer.read1(65536) if cut_after is None else answer.readline():
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    if cut_after is not None and piece.startswith(b"data:"):
                        cut_after -= 1
                        if cut_after == 0:
                            self.wfile.write(b"2\r\n\r\n\r\n")  # the event's own end
                            raise ConnectionAbortedError
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True  # one side hung up: so does the other
            finally:
                upstream.close()

        def log_message(self, *_):
            pass

    return Handler
