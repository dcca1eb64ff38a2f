"""Stands between a client and a validation server and turns every status to OK. Prints its address."""

import re
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

upstream = sys.argv[1]


class Meddler(BaseHTTPRequestHandler):
    def do_GET(self):
        with urllib.request.urlopen(upstream + self.path) as answer:
            body = re.sub(rb"status=[A-Z_]+", b"status=OK", answer.read())
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", 0), Meddler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
