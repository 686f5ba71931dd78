"""A relay for the test of the stack: STARTTLS and a log-in are required; what it takes lies in a folder.

Usage: smtp.py ADDRESS PORT FOLDER CERTIFICATE KEY USER PASSWORD
"""

import asyncio
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Relay:
    def __init__(self, folder):
        self.folder, self.taken = pathlib.Path(folder), 0

    async def handle_DATA(self, server, session, envelope):
        self.taken += 1
        (self.folder / f"{self.taken}.eml").write_bytes(envelope.content)
        return "250 OK"


async def main(address, port, folder, certificate, key, user, password):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    relay = Relay(folder)

    def known(server, session, envelope, mechanism, login):
        given = (login.login, login.password)
        return AuthResult(success=given == (user.encode(), password.encode()))

    def talk():
        return SMTP(relay, tls_context=tls, require_starttls=True, auth_required=True, authenticator=known, data_size_limit=2**26)

    server = await asyncio.get_running_loop().create_server(talk, address, int(port))
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
