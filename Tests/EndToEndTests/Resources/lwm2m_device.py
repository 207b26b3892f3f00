"""A LwM2M device on aiocoap: plain CoAP, block-wise transfer in both roles, observations.

usage: lwm2m_device.py BIND GATEWAY-ADDRESS GATEWAY-PORT ENDPOINT [QUERY]...

It registers, with a body that takes two blocks, and serves its resources until the server executes /1/0/8. Then it sends
2,500 bytes (Send), updates its registration from a new port, and de-registers from there. It writes what happens as one
JSON object a line, and ends with status 0 if all went well.
"""

import asyncio
import json
import sys

from aiocoap import Context, Message, resource
from aiocoap.numbers import codes

bind, gateway, port, endpoint, *queries = sys.argv[1:]
LINKS = ",".join(["</1/0>", "</3/0>", "</19/0>"] + [f"</3303/{index}>" for index in range(120)])


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def pattern(count):
    return bytes(index * 7 & 0xFF for index in range(count))


class Text(resource.Resource):
    async def render_get(self, request):
        answer = Message(payload=b"aiocoap", content_format=0)
        answer.opt.etag = b"\x01\x02"
        answer.opt.max_age = 7
        return answer


class File(resource.Resource):
    def __init__(self):
        super().__init__()
        self.bytes = pattern(3000)

    async def render_get(self, request):
        return Message(payload=self.bytes, content_format=42)

    async def render_put(self, request):
        self.bytes = request.payload
        report("written", bytes=len(request.payload))
        return Message(code=codes.CHANGED)


class Clock(resource.ObservableResource):
    def __init__(self):
        super().__init__()
        self.value = 0
        self.task = None

    def update_observation_count(self, count):
        report("observers", count=count)
        if count and self.task is None:
            self.task = asyncio.get_running_loop().create_task(self.tick())
        elif not count and self.task is not None:
            self.task.cancel()
            self.task = None

    async def tick(self):
        while True:
            await asyncio.sleep(0.2)
            self.value += 1
            self.updated_state()

    async def render_get(self, request):
        return Message(payload=str(self.value).encode(), content_format=0)


class Trigger(resource.Resource):
    def __init__(self):
        super().__init__()
        self.executed = asyncio.Event()

    async def render_post(self, request):
        self.executed.set()
        return Message(code=codes.CHANGED)


async def ask(context, code, path, payload=b"", **options):
    message = Message(code=code, uri=f"coap://{gateway}:{port}", payload=payload)
    message.opt.uri_path = tuple(path)
    for option, value in options.items():
        setattr(message.opt, option, value)
    response = await context.request(message).response
    report("answered", path=list(path), code=response.code.dotted)
    return response


async def main():
    site = resource.Site()
    trigger = Trigger()
    site.add_resource(["3", "0", "0"], Text())
    site.add_resource(["3", "0", "13"], Clock())
    site.add_resource(["19", "0", "0"], File())
    site.add_resource(["1", "0", "8"], trigger)
    context = await Context.create_server_context(site, bind=(bind, 0), transports=["udp6"])
    parameters = (f"ep={endpoint}", "lt=300", "lwm2m=1.1", "b=U", *queries)
    created = await ask(context, codes.POST, ["rd"], LINKS.encode(), uri_query=parameters, content_format=40)
    if created.code != codes.CREATED:
        return 1
    location = created.opt.location_path
    await asyncio.wait_for(trigger.executed.wait(), 60)
    sent = await ask(context, codes.POST, ["dp"], pattern(2500), content_format=42)
    other = await Context.create_server_context(site, bind=(bind, 0), transports=["udp6"])
    updated = await ask(other, codes.POST, location, uri_query=("lt=600",))
    gone = await ask(other, codes.DELETE, location)
    results = [sent.code, updated.code, gone.code]
    await context.shutdown()
    await other.shutdown()
    return 0 if results == [codes.CHANGED, codes.CHANGED, codes.DELETED] else 1


sys.exit(asyncio.run(main()))
