from common import MODEL, PROMPT, as_given_and_by_path, stay
from langchain_ollama import ChatOllama, OllamaLLM

for _ in as_given_and_by_path():
    for client in (ChatOllama(model=MODEL), OllamaLLM(model=MODEL)):
        client.invoke(PROMPT)
        for _piece in client.stream(PROMPT):
            pass
stay()
