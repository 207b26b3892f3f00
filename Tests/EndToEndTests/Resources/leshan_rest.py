"""Behaves as the part of Leshan's REST interface that takes keys: PUT and DELETE below /api/security/clients/.

Says what happens as JSON, one event a line. Holds one key for each endpoint, as Leshan does.
"""

import argparse
import hashlib
import http.server
import json
import threading
import urllib.parse

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--refuse", action="store_true", help="answer every PUT with 400")
parser.add_argument("--refuse-deletes", type=int, default=0, metavar="N", help="answer so many DELETEs with 500")
parser.add_argument("--silent", action="store_true", help="answer nothing")
parser.add_argument("--token", help="expect this bearer token")
options = parser.parse_args()

PREFIX = "/api/security/clients/"
clients = {}
steps = {}
left = [options.refuse_deletes]
lock = threading.Lock()


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def step(endpoint):
    """Counts what was done for an endpoint; called with the lock held."""
    steps[endpoint] = steps.get(endpoint, 0) + 1
    return steps[endpoint]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handled(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if options.silent:
            say("ignored", method=self.command)
            threading.Event().wait(60)
            self.close_connection = True
            return None
        if options.token and self.headers.get("Authorization") != "Bearer " + options.token:
            self.answer(401)
            return None
        return body

    def do_PUT(self):
        body = self.handled()
        if body is None:
            return
        try:
            message = json.loads(body)
            if "tls" in message:
                shape, pair = "tls", message["tls"]["details"]
                assert message["tls"]["mode"] == "psk"
            else:
                shape, pair = "psk", message["psk"]
            key = bytes.fromhex(pair["key"])
            endpoint, identity = message["endpoint"], pair["identity"]
        except (ValueError, KeyError, TypeError, AssertionError):
            say("malformed")
            self.answer(400)
            return
        fingerprint = hashlib.sha256(key).hexdigest()[:8]
        if self.path != PREFIX or options.refuse:
            say("refused", endpoint=endpoint, key=fingerprint)
            self.answer(400)
            return
        with lock:
            clients[endpoint] = identity
            say("put", step=step(endpoint), endpoint=endpoint, identity=identity, key=fingerprint, shape=shape)
        self.answer(204)

    def do_POST(self):
        """The same as a webhook, which holds several keys of an endpoint beside each other."""
        body = self.handled()
        if body is None:
            return
        message = json.loads(body)
        endpoint, identity = message["endpoint"], message["identity"]
        with lock:
            if message["action"] == "publish":
                key = hashlib.sha256(bytes.fromhex(message["key"])).hexdigest()[:8]
                say("put", step=step(endpoint), endpoint=endpoint, identity=identity, key=key, shape="webhook")
            else:
                say("delete", step=step(endpoint), endpoint=endpoint, identity=identity)
        self.answer(200)

    def do_DELETE(self):
        if self.handled() is None:
            return
        endpoint = urllib.parse.unquote(self.path[len(PREFIX):])
        with lock:
            if left[0] > 0:
                left[0] -= 1
                say("delete refused", endpoint=endpoint)
                self.answer(500)
                return
            known = clients.pop(endpoint, None) is not None
            say("delete", step=step(endpoint), endpoint=endpoint, known=known)
        self.answer(204 if known else 404)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer((options.host, options.port), Handler)
say("listening", port=server.server_address[1])
server.serve_forever()
