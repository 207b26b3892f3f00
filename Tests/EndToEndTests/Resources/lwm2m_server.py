"""A LwM2M server on aiocoap: plain CoAP, block-wise transfer, observations, composite operations.

usage: lwm2m_server.py ADDRESS PORT [OPERATION]...

It carries the operations out, one after another, on the first device that registers, and writes what happens as one JSON
object a line. Operations:

  read:PATH  discover:PATH  write:PATH:BYTES  attributes:PATH:QUERY  execute:PATH  create:PATH:HEX  delete:PATH
  fetch:PATH,PATH...   iwrite:PATH=TEXT,PATH=TEXT...
  observe:PATH:COUNT:END    COUNT notifications, then END: reset or cancel (GET with Observe 1); or keep, and it goes on
  composite:PATH,...:COUNT:END                          beside the operations that follow
  unsafe:PATH               a GET with an option that a proxy must not pass without knowing it
  elective:PATH             a GET with one that it must pass
  wait:EVENT                until a device has registered, updated, sent or deregistered
  non:PATH                  a GET that is not confirmable
  stop:                     until SIGUSR1; from then on every repetition of a request is told
"""

import asyncio
import hashlib
import json
import signal
import sys

import aiocoap
from aiocoap import Context, Message, error, resource
from aiocoap.numbers import codes
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.optiontypes import OpaqueOption

SENML_JSON = 110
TLV = 11542


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def pattern(count):
    return bytes(index * 7 & 0xFF for index in range(count))


def digest(payload):
    return hashlib.sha256(payload).hexdigest()[:16]


class Registrations(resource.Resource):
    def __init__(self, server):
        super().__init__()
        self.server = server

    async def render_post(self, request):
        return self.server.register(request)


class Registration(resource.Resource):
    def __init__(self, server, path, remote):
        super().__init__()
        self.server = server
        self.path = path
        self.remote = remote

    async def render_post(self, request):
        self.remote = request.remote
        self.server.happened("updated", request)
        return Message(code=codes.CHANGED)

    async def render_delete(self, request):
        self.server.site.remove_resource(self.path)
        self.server.happened("deregistered", request)
        return Message(code=codes.DELETED)


class Data(resource.Resource):
    def __init__(self, server):
        super().__init__()
        self.server = server

    async def render_post(self, request):
        self.server.happened("sent", request, bytes=len(request.payload), digest=digest(request.payload))
        return Message(code=codes.CHANGED)


class Server:
    def __init__(self, operations):
        self.operations = operations
        self.site = resource.Site()
        self.site.add_resource(["rd"], Registrations(self))
        self.site.add_resource(["dp"], Data(self))
        self.count = 0
        self.seen = {}
        self.news = asyncio.Condition()
        self.current = None
        self.running = None
        self.kept = []

    def happened(self, event, request, **fields):
        report(
            event, peer=request.remote.hostinfo, queries=list(request.opt.uri_query),
            confirmable=request.mtype != aiocoap.NON, **fields,
        )
        self.seen[event] = self.seen.get(event, 0) + 1
        asyncio.get_running_loop().create_task(self.tell())

    async def tell(self):
        async with self.news:
            self.news.notify_all()

    def register(self, request):
        self.count += 1
        # Several segments, one that has to be escaped in a URI among them, and a query.
        path = ("rd", "a b", str(self.count))
        self.current = Registration(self, path, request.remote)
        self.site.add_resource(path, self.current)
        self.happened("registered", request, links=request.payload.decode(), bytes=len(request.payload))
        if self.running is None:
            self.running = asyncio.get_running_loop().create_task(self.run())
        answer = Message(code=codes.CREATED)
        answer.opt.location_path = path
        answer.opt.location_query = ("shard=1",)
        return answer

    async def run(self):
        for operation in self.operations:
            name, _, rest = operation.partition(":")
            try:
                await asyncio.wait_for(getattr(self, name)(operation, *rest.split(":")), 40)
            except Exception as failure:
                report("undelivered", operation=operation, reason=repr(failure))
        report("done")

    def message(self, code, path, payload=b"", **options):
        message = Message(code=code, payload=payload)
        message.opt.uri_path = tuple(segment for segment in path.split("/") if segment)
        for option, value in options.items():
            setattr(message.opt, option, value)
        message.remote = self.current.remote
        return message

    async def ask(self, operation, message):
        self.answered(operation, await self.context.request(message).response)

    def answered(self, operation, response):
        report(
            "answered", operation=operation, code=response.code.dotted, bytes=len(response.payload),
            digest=digest(response.payload), format=response.opt.content_format,
            payload=response.payload.decode("utf-8", "replace")[:200], observe=response.opt.observe,
            maxAge=response.opt.max_age, etag=(response.opt.etag or b"").hex(),
        )

    async def read(self, operation, path):
        await self.ask(operation, self.message(codes.GET, path))

    async def non(self, operation, path):
        message = self.message(codes.GET, path)
        message.transport_tuning = aiocoap.Unreliable
        await self.ask(operation, message)

    async def discover(self, operation, path):
        await self.ask(operation, self.message(codes.GET, path, accept=40))

    async def write(self, operation, path, count):
        await self.ask(operation, self.message(codes.PUT, path, pattern(int(count)), content_format=42))

    async def attributes(self, operation, path, query):
        await self.ask(operation, self.message(codes.PUT, path, uri_query=(query,)))

    async def execute(self, operation, path):
        await self.ask(operation, self.message(codes.POST, path))

    async def create(self, operation, path, payload):
        await self.ask(operation, self.message(codes.POST, path, bytes.fromhex(payload), content_format=TLV))

    async def delete(self, operation, path):
        await self.ask(operation, self.message(codes.DELETE, path))

    async def unsafe(self, operation, path):
        message = self.message(codes.GET, path)
        message.opt.add_option(OpaqueOption(OptionNumber(2050), b"x"))
        await self.ask(operation, message)

    async def elective(self, operation, path):
        message = self.message(codes.GET, path)
        message.opt.add_option(OpaqueOption(OptionNumber(2044), b"x"))
        await self.ask(operation, message)

    def fetching(self, paths):
        body = json.dumps([{"n": path} for path in paths.split(",")])
        return self.message(codes.FETCH, "", body.encode(), content_format=SENML_JSON, accept=SENML_JSON)

    async def fetch(self, operation, paths):
        await self.ask(operation, self.fetching(paths))

    async def iwrite(self, operation, *values):
        pairs = [value.split("=") for value in ":".join(values).split(",")]
        body = json.dumps([{"n": path, "vs": text} for path, text in pairs])
        await self.ask(operation, self.message(codes.iPATCH, "", body.encode(), content_format=SENML_JSON))

    async def observe(self, operation, path, count, end):
        await self.watch(operation, self.message(codes.GET, path, observe=0), int(count), end)

    async def composite(self, operation, paths, count, end):
        message = self.fetching(paths)
        message.opt.observe = 0
        await self.watch(operation, message, int(count), end)

    async def watch(self, operation, message, count, end):
        request = self.context.request(message, handle_blockwise=False)
        self.answered(operation, await request.response)
        token = message.token
        if end == "keep":
            self.kept.append(asyncio.get_running_loop().create_task(self.notifications(operation, request, count)))
            return
        await self.notifications(operation, request, count)
        # Forgotten here: the next notification is answered with RST.
        request.observation.cancel()
        if end == "cancel":
            tokens = self.context.request_interfaces
            manager = next(manager for manager in tokens if hasattr(manager, "next_token"))
            original = manager.next_token
            manager.next_token = lambda: token
            last = message.copy(observe=1, mid=None, token=None)
            last.remote = message.remote
            try:
                asked = self.context.request(last, handle_blockwise=False)
                response = await asked.response
            finally:
                manager.next_token = original
            report("cancelled", operation=operation, code=response.code.dotted, observe=response.opt.observe)

    async def notifications(self, operation, request, count):
        seen = 0
        async for notification in request.observation:
            seen += 1
            report(
                "notification", operation=operation, code=notification.code.dotted, observe=notification.opt.observe,
                confirmable=notification.mtype == aiocoap.CON, payload=notification.payload.decode()[:200],
            )
            if seen == count:
                return

    async def stop(self, operation, _):
        gone = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, gone.set)
        report("stopped")
        await gone.wait()
        for manager in self.context.request_interfaces:
            messages = getattr(manager, "token_interface", None)
            if messages is None:
                continue
            original = messages._retransmit

            def repeat(message, timeout, count, original=original):
                report("repeating", count=count)
                original(message, timeout, count)

            messages._retransmit = repeat

    async def wait(self, operation, event):
        async with self.news:
            await self.news.wait_for(lambda: self.seen.get(event, 0) > 0)
            self.seen[event] -= 1


async def main():
    address, port, *operations = sys.argv[1:]
    server = Server(operations)
    server.context = await Context.create_server_context(server.site, bind=(address, int(port)), transports=["udp6"])
    report("listening", port=int(port))
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
