"""Sends one datagram over DTLS-PSK with mbedTLS and prints the answer in hexadecimal.

usage: mbedtls_client.py ADDRESS PORT IDENTITY KEY REQUEST, the last two in hexadecimal
"""

import socket
import sys
import time

from mbedtls.tls import ClientContext, DTLSConfiguration, HelloVerifyRequest, WantReadError, WantWriteError

address, port, identity, key, request = sys.argv[1:6]
deadline = time.monotonic() + 20
configuration = DTLSConfiguration(
    pre_shared_key=(identity, bytes.fromhex(key)),
    validate_certificates=False,
)
sock = ClientContext(configuration).wrap_socket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), server_hostname=None)
sock.settimeout(0.5)
sock.connect((address, int(port)))


def until_done(step):
    while True:
        if time.monotonic() > deadline:
            sys.exit("no answer in time")
        try:
            return step()
        except (WantReadError, WantWriteError, HelloVerifyRequest, TimeoutError):
            pass


until_done(sock.do_handshake)
print("suite", sock.cipher(), file=sys.stderr)
until_done(lambda: sock.send(bytes.fromhex(request)))
print(until_done(lambda: sock.recv(2048)).hex())
