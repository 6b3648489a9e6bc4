"""What the Python clients share: each step with what came of it, without what differs from call to call."""

import json

MODEL = "tinyllama"
ABSENT = "no-such-model"
PROMPT = "Say hello."
LONG = "Tell the whole story in about 4000 words."
MESSAGES = [{"role": "user", "content": PROMPT}]
# Times and numbers of calls.
VOLATILE = ("created", "created_at", "id", "modified_at", "expires_at")

_steps = []


def plain(value):
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in VOLATILE and not k.endswith("_duration")}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def told(error):
    status = getattr(error, "status_code", None)
    return {"error": type(error).__name__, "status": status, "says": str(getattr(error, "body", None) or error)}


def step(name, call):
    try:
        _steps.append([name, plain(call())])
    except Exception as error:
        _steps.append([name, told(error)])


async def step_async(name, call):
    try:
        _steps.append([name, plain(await call())])
    except Exception as error:
        _steps.append([name, told(error)])


def end():
    print(json.dumps(_steps))
