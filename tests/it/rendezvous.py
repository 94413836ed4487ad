"""A client of Heroku's rendezvous: URL, CA file, input whose pieces are sent apart from each other."""
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

url, authority, keys = urlsplit(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=authority)
plain = socket.create_connection((url.hostname, url.port))
connection = context.wrap_socket(plain, server_hostname=url.hostname)
connection.sendall(url.path[1:].encode() + b"\r\n")
# Heroku's client drops the first piece, whatever it is.
first = connection.recv(65536)
if not first:
    sys.exit()
assert first == b"rendezvous\r\n", first
for piece in keys.encode().decode("unicode_escape").split("|"):
    connection.sendall(piece.encode())
    time.sleep(0.1)
while data := connection.recv(65536):
    sys.stdout.buffer.write(data)
