"""`urljoin` drops the path of the base, and with it the token, for a path that begins with a slash. For any other it
drops the last part."""

import os
from urllib.parse import urljoin

import requests
from common import MESSAGES, MODEL, PROMPT, stay


def url(base, path):
    joined = urljoin(os.environ[base], path)
    assert "/i/" not in joined, joined
    return joined


def post(base, path, body):
    requests.post(url(base, path), json=body, timeout=60).raise_for_status()


post("OLLAMA_URL", "/api/generate", {"model": MODEL, "prompt": PROMPT, "stream": False})
post("OLLAMA_BASE_URL", "/api/chat", {"model": MODEL, "messages": MESSAGES})
post("OPENAI_BASE_URL", "/v1/chat/completions", {"model": MODEL, "messages": MESSAGES})
# Tasks go the same way: an address that nobody is known by would be refused.
post("BACKEND_URL", "/api/agents/register", {"agent_name": os.environ["AGENT_NAME"]})
requests.get(url("BACKEND_URL", f"/api/tasks/next/{os.environ['AGENT_TYPE']}"), timeout=30).raise_for_status()

# Half a path names nobody, or nothing. That must be refused, and not be taken for somebody else's call.
generate = {"model": MODEL, "prompt": PROMPT, "stream": False}
for base, path, refusal in (("OLLAMA_URL", "api/generate", 404), ("BACKEND_URL", "api/agents/heartbeat", 401)):
    status = requests.post(urljoin(os.environ[base], path), json=generate, timeout=30).status_code
    assert status == refusal, (base, path, status)
stay()
