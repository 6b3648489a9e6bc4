"""An agent that knows only the official `ollama` package: the client reads OLLAMA_HOST itself."""

import os

import ollama

from pull import Agent

MODEL = os.environ.get("MODEL_NAME", "tinyllama")
# A call may wait in line before it is computed; without a limit it would wait for ever.
client = ollama.Client(timeout=300)


def work(prompt):
    return client.generate(model=MODEL, prompt=prompt).response


if __name__ == "__main__":
    Agent(work).run()
