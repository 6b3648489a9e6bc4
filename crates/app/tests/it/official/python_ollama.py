import asyncio
import os

import ollama
from transcript import ABSENT, LONG, MESSAGES, MODEL, PROMPT, end, step, step_async

HOST = os.environ["BASE"]
INPUTS = ["one", "two words", "and three words"]


def left_early(client):
    stream = client.generate(model=MODEL, prompt=LONG, stream=True)
    first = next(stream)
    stream.close()
    return first


def sync():
    client = ollama.Client(host=HOST)
    step("generate", lambda: client.generate(model=MODEL, prompt=PROMPT))
    step("generate, streamed", lambda: list(client.generate(model=MODEL, prompt=PROMPT, stream=True)))
    step("generate, with options", lambda: client.generate(model=MODEL, prompt=PROMPT, options={"num_predict": 3}))
    step("chat", lambda: client.chat(model=MODEL, messages=MESSAGES))
    step("chat, streamed", lambda: list(client.chat(model=MODEL, messages=MESSAGES, stream=True)))
    step("embed", lambda: client.embed(model=MODEL, input=INPUTS))
    step("embeddings", lambda: client.embeddings(model=MODEL, prompt=PROMPT))
    step("list", client.list)
    step("ps", lambda: [model.model for model in client.ps().models])
    step("show", lambda: client.show(MODEL))
    step("load", lambda: client.generate(model=MODEL))
    step("left early", lambda: left_early(client))
    step("after that", lambda: client.generate(model=MODEL, prompt=PROMPT))
    step("absent", lambda: client.generate(model=ABSENT, prompt=PROMPT))
    step("absent, streamed", lambda: list(client.chat(model=ABSENT, messages=MESSAGES, stream=True)))
    step("absent, embedded", lambda: client.embed(model=ABSENT, input="x"))
    step("unnamed", lambda: client.generate(model="", prompt=PROMPT))


async def streamed(stream):
    return [piece async for piece in await stream]


async def asynchronous():
    client = ollama.AsyncClient(host=HOST)
    await step_async("async generate", lambda: client.generate(model=MODEL, prompt=PROMPT))
    await step_async("async chat, streamed", lambda: streamed(client.chat(model=MODEL, messages=MESSAGES, stream=True)))
    await step_async("async embed", lambda: client.embed(model=MODEL, input=INPUTS))
    await step_async("async absent", lambda: client.chat(model=ABSENT, messages=MESSAGES))
    eight = lambda: asyncio.gather(*(client.chat(model=MODEL, messages=MESSAGES) for _ in range(8)))  # noqa: E731
    await step_async("eight at once", eight)


sync()
asyncio.run(asynchronous())
end()
