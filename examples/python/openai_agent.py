"""The same agent on the `openai` package: the client reads OPENAI_BASE_URL itself."""

import os

import openai

from pull import Agent

MODEL = os.environ.get("MODEL_NAME", "tinyllama")
# The package refuses to start without a key, and Ollama has none. Repeating calls is left to the gateway, which
# knows what the model server is doing.
client = openai.OpenAI(api_key=os.environ.get("OPENAI_API_KEY", "unused"), timeout=300, max_retries=0)


def work(prompt):
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content or ""


if __name__ == "__main__":
    Agent(work).run()
