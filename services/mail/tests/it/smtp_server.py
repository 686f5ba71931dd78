"""An SMTP server on loopback that does to each recipient what its local part says, and keeps what it took.

Usage: smtp_server.py FOLDER [--certificate CERTIFICATE KEY] [--tls] [--login USER PASSWORD]. Prints its port. With a
certificate it offers STARTTLS, or speaks TLS from the first byte (--tls). With a login it takes nothing without.
"""

import argparse
import asyncio
import pathlib
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


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


class Server(SMTP):
    async def smtp_DATA(self, arg):
        if self.envelope.rcpt_tos[:1] != ["drop-within@example.org"]:
            return await super().smtp_DATA(arg)
        await self.push("354 go on")
        await self._reader.readline()
        self.transport.abort()
        await asyncio.sleep(3600)


async def main(arguments):
    handler = Handler(arguments.folder)
    tls = None
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*arguments.certificate)
    login = [word.encode() for word in arguments.login or []]

    def check(server, session, envelope, mechanism, found):
        return AuthResult(success=[found.login, found.password] == login, handled=False)

    def serve():
        return Server(
            handler,
            data_size_limit=2**26,
            tls_context=None if arguments.tls else tls,
            authenticator=check if login else None,
            auth_required=bool(login),
            auth_require_tls=not arguments.tls,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(serve, "127.0.0.1", 0, ssl=tls if arguments.tls else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--certificate", nargs=2)
parser.add_argument("--tls", action="store_true")
parser.add_argument("--login", nargs=2)
asyncio.run(main(parser.parse_args()))
