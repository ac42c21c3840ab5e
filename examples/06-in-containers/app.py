"""Counts visits in Redis. Its address comes as a file, for it has a password in it."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import redis

visits = redis.Redis.from_url(Path(os.environ["REDIS_URL_FILE"]).read_text(), socket_timeout=2)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            status, text = 200, "ready" if self.path == "/ready" else f"visit {visits.incr('visits')}"
        except redis.RedisError as error:
            status, text = 503, f"no answer from Redis: {error}"
        body = text.encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
