"""An old-style DTCP client: logs in as the clients of the KAME days did, prints what the broker says, and holds the session.

usage: dtcp_client.py BROKER PORT USER PASSWORD [TYPE]

It writes bare LF and an upper-case hash, gives up when the broker sees another address than its own (it is behind NAT),
sends a ping for every line on standard input, and quits at its end.
"""

import hashlib
import socket
import sys

broker, port, user, password = sys.argv[1:5]
kind = sys.argv[5] if len(sys.argv) > 5 else "network"

connection = socket.create_connection((broker, int(port)), timeout=30)
lines = connection.makefile("r", newline="\n")


def ask(line):
    connection.sendall(line.encode() + b"\n")
    return hear()


def hear():
    line = lines.readline()
    if not line:
        print("closed", flush=True)
        sys.exit(1)
    print(line.rstrip("\r\n"), flush=True)
    return line.split()


challenge = hear()[1]
proof = hashlib.md5((user + challenge + password).encode()).hexdigest().upper()
answer = ask(f"tunnel {user} {proof} {kind}")
if answer[0] != "+OK":
    sys.exit(1)
if answer[1] != connection.getsockname()[0]:
    print("you are behind a NAT box", flush=True)
    sys.exit(1)
for _ in sys.stdin:
    ask("ping")
ask("quit")
