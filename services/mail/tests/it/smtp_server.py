"""An SMTP server on loopback that does to each recipient what its local part says, and keeps what it took.

Usage: smtp_server.py FOLDER [CERTIFICATE KEY]. Prints its port. With a certificate it offers STARTTLS.
"""

import asyncio
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP


class Handler:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.taken = 0
        self.seen = {}

    def keep(self, name, content):
        self.taken += 1
        (self.folder / f"{name}-{self.taken}.eml").write_bytes(content)

    async def handle_RCPT(self, server, session, envelope, address, options):
        name = address.split("@")[0]
        self.seen[name] = self.seen.get(name, 0) + 1
        if name == "greylisted" and self.seen[name] < 3:
            return "451 4.7.1 greylisted, try again later"
        if name == "refused":
            return "550 5.1.1 no such user"
        if name == "drop-before":
            server.transport.abort()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        name = envelope.rcpt_tos[0].split("@")[0]
        if name == "full" and self.seen[name] < 2:
            return "452 4.3.1 no space"
        if name == "spam":
            return "554 5.7.1 looks like spam"
        self.keep(name, envelope.content)
        if name == "drop-after":
            server.transport.abort()
        if name == "stall-after":
            await asyncio.sleep(3600)
        return "250 OK"


async def main(folder, certificate=None, key=None):
    handler = Handler(folder)
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, tls_context=tls, data_size_limit=2**26), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
