import ollama
from common import MESSAGES, MODEL, PROMPT, as_given_and_by_path, stay

for _ in as_given_and_by_path():
    client = ollama.Client()
    client.generate(model=MODEL, prompt=PROMPT)
    client.chat(model=MODEL, messages=MESSAGES)
    for _piece in client.generate(model=MODEL, prompt=PROMPT, stream=True):
        pass
    client.list()
# The functions of the module read the variable when it is imported.
ollama.generate(model=MODEL, prompt=PROMPT)
stay()
