"""A receiver of drains: KIND (syslog, tls or https), PORT, OUT, CERTIFICATE, KEY. Each message becomes
a line of JSON in OUT. Behaviour is asked for by the files OUT.status and OUT.delay."""
import http.server
import json
import os
import re
import socketserver
import ssl
import sys
import time

kind, port, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
FORM = re.compile(
    r"<(\d{1,3})>1 (\S+) (\S+) (app|heroku) (\S+) - (- )?(.*)", re.DOTALL)


def asked(name, otherwise):
    try:
        with open(f"{out}.{name}") as file:
            return float(file.read())
    except OSError:
        return otherwise


def keep(message, **more):
    found = FORM.fullmatch(message)
    assert found, message
    pri, when, host, source, process, data, text = found.groups()
    with open(out, "a") as file:
        file.write(json.dumps({
            "pri": int(pri), "host": host, "from": f"{source}[{process}]",
            "structured": data is not None, "text": text, **more}) + "\n")


def frames(read):
    """Octet counting: a length, a blank, so many bytes."""
    while True:
        digits = b""
        while (byte := read(1)) not in (b" ", b""):
            assert byte.isdigit(), byte
            digits += byte
        if not digits:
            return
        message = b""
        while len(message) < int(digits):
            message += read(int(digits) - len(message)) or sys.exit("cut")
        yield message.decode()


class Syslog(socketserver.StreamRequestHandler):
    def handle(self):
        for message in frames(self.rfile.read):
            keep(message)


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        time.sleep(asked("delay", 0))
        status = int(asked("status", 200))
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if status == 200:
            import io
            messages = list(frames(io.BytesIO(body).read))
            assert len(messages) == int(self.headers["Logplex-Msg-Count"])
            assert self.headers["Content-Type"] == "application/logplex-1"
            assert self.headers["Logplex-Frame-Id"]
            for message in messages:
                assert message.endswith("\n")
                keep(message[:-1], token=self.headers["Logplex-Drain-Token"], path=self.path,
                     user=self.headers["Authorization"])
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


server = Server(("127.0.0.1", port), Http if kind == "https" else Syslog)
if kind != "syslog":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4], sys.argv[5])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
