"""Sends one datagram over DTLS-PSK with tinydtls and prints the answer in hexadecimal.

usage: tinydtls_client.py ADDRESS PORT IDENTITY KEY REQUEST, the last two in hexadecimal
"""

import socket
import sys
import time

from DTLSSocket import dtls

address, port, identity, key, request = sys.argv[1:6]
# tinydtls names its peers by IPv6 addresses alone.
peer = ("::ffff:" + address, int(port), 0, 0)
deadline = time.monotonic() + 20
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.settimeout(0.5)
# The binding keeps a pointer to these bytes and no reference, so they have to live as long as it does.
name = identity.encode()
answers = []
events = []


def received(_session, data):
    answers.append(bytes(data))
    return len(data)


def send(_session, data):
    return sock.sendto(data, peer)


client = dtls.DTLS(
    read=received,
    write=send,
    event=lambda _level, code: events.append(code),
    pskId=name,
    pskStore={name: bytes.fromhex(key)},
)
session = client.connect(*peer)


def turn():
    if time.monotonic() > deadline:
        sys.exit("no answer in time; events " + ", ".join(hex(code) for code in events))
    try:
        data, source = sock.recvfrom(2048)
    except TimeoutError:
        client.checkRetransmit()
        return
    client.handleMessageAddr(source[0], source[1], data)


CONNECTED = 0x1DE
while CONNECTED not in events:
    turn()
client.write(session, bytes.fromhex(request))
while not answers:
    turn()
print(answers[0].hex())
