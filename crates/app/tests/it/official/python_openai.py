import asyncio
import os

import openai
from transcript import ABSENT, LONG, MESSAGES, MODEL, PROMPT, end, step, step_async

SETTINGS = {"base_url": f"{os.environ['BASE']}/v1", "api_key": "unused", "max_retries": 0}
LONG_MESSAGES = [{"role": "user", "content": LONG}]
USAGE = {"include_usage": True}


def left_early(client):
    with client.chat.completions.create(model=MODEL, messages=LONG_MESSAGES, stream=True) as stream:
        return next(iter(stream))


def sync():
    client = openai.OpenAI(**SETTINGS)
    chat, text = client.chat.completions.create, client.completions.create
    step("chat", lambda: chat(model=MODEL, messages=MESSAGES))
    step("chat, streamed", lambda: list(chat(model=MODEL, messages=MESSAGES, stream=True)))
    step("chat, with usage", lambda: list(chat(model=MODEL, messages=MESSAGES, stream=True, stream_options=USAGE)))
    step("chat, short", lambda: chat(model=MODEL, messages=MESSAGES, max_tokens=3))
    step("completion", lambda: text(model=MODEL, prompt=PROMPT))
    step("completion, streamed", lambda: list(text(model=MODEL, prompt=PROMPT, stream=True)))
    step("embeddings", lambda: client.embeddings.create(model=MODEL, input=["one", "two words"]))
    step("models", lambda: list(client.models.list()))
    step("left early", lambda: left_early(client))
    step("after that", lambda: chat(model=MODEL, messages=MESSAGES))
    step("absent", lambda: chat(model=ABSENT, messages=MESSAGES))
    step("absent, streamed", lambda: list(chat(model=ABSENT, messages=MESSAGES, stream=True)))
    step("absent, embedded", lambda: client.embeddings.create(model=ABSENT, input="x"))


async def streamed(stream):
    return [piece async for piece in await stream]


async def asynchronous():
    client = openai.AsyncOpenAI(**SETTINGS)
    chat = client.chat.completions.create
    await step_async("async chat", lambda: chat(model=MODEL, messages=MESSAGES))
    await step_async("async chat, streamed", lambda: streamed(chat(model=MODEL, messages=MESSAGES, stream=True)))
    await step_async("async embeddings", lambda: client.embeddings.create(model=MODEL, input="one"))
    await step_async("async absent", lambda: chat(model=ABSENT, messages=MESSAGES))
    eight = lambda: asyncio.gather(*(chat(model=MODEL, messages=MESSAGES) for _ in range(8)))  # noqa: E731
    await step_async("eight at once", eight)


sync()
asyncio.run(asynchronous())
end()
