"""What the Python clients share. Each makes its calls with what it finds in its environment, and then stays."""

import os
import re
import signal

MODEL = os.environ["MODEL_NAME"]
# By its mark the test knows at the model server whose call it was.
PROMPT = f"[{os.environ['AGENT_NAME']}] Say hello."
MESSAGES = [{"role": "user", "content": PROMPT}]


def as_given_and_by_path():
    """Twice: with the variables as they were given, and with the instance's own address hidden in them. Who is
    still known the second time is known by the path alone."""
    yield
    for name in ("OLLAMA_HOST", "OLLAMA_URL", "OLLAMA_BASE_URL", "OPENAI_BASE_URL", "BACKEND_URL"):
        os.environ[name] = re.sub(r"//[0-9.]+:", "//127.0.0.1:", os.environ[name])
    yield


def stay():
    print("done", flush=True)
    signal.pause()
