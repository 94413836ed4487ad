"""A name server on 127.0.0.1 that gives a public address and a loopback one in turn, and a listener
on loopback. What happens goes to the file of the argument."""

import socket
import sys
import threading

ADDRESSES = ["203.0.113.7", "127.0.0.1"]
log = open(sys.argv[1], "a", buffering=1)

listener = socket.create_server(("127.0.0.1", 8080))
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))


def listen():
    while True:
        connection, _ = listener.accept()
        print("reached", file=log)
        connection.close()


threading.Thread(target=listen, daemon=True).start()
print("ready", file=log)
count = 0
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    kind = query[end - 4 : end - 2]
    answers, records = b"\0\0", b""
    if kind == b"\0\1":
        address = ADDRESSES[count % 2]
        count += 1
        print("asked", address, file=log)
        answers = b"\0\1"
        # A pointer to the name, type A, class IN, no time to live, four bytes.
        records = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(address)
    reply = query[:2] + b"\x81\x80" + query[4:6] + answers + b"\0\0\0\0" + query[12:end] + records
    server.sendto(reply, client)
