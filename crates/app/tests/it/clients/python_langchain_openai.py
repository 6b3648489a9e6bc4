from common import MODEL, PROMPT, as_given_and_by_path, stay
from langchain_openai import ChatOpenAI

for _ in as_given_and_by_path():
    client = ChatOpenAI(model=MODEL, api_key="unused", max_retries=0)
    client.invoke(PROMPT)
    for _piece in client.stream(PROMPT):
        pass
stay()
