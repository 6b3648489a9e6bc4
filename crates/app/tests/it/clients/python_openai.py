import openai
from common import MESSAGES, MODEL, as_given_and_by_path, stay

for _ in as_given_and_by_path():
    client = openai.OpenAI(api_key="unused", max_retries=0)
    client.chat.completions.create(model=MODEL, messages=MESSAGES)
    for _piece in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
        pass
    client.models.list()
stay()
