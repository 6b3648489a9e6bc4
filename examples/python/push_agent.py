"""An agent that is pushed to: FastAPI on BELLWETHER_ADDRESS:PORT, the model through OLLAMA_HOST.

uvicorn does the rest of the work: after SIGTERM it takes no connection, finishes the requests that it has, and ends.
"""

import os

import httpx
import ollama
import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel

NAME = os.environ.get("AGENT_NAME", "python-push")
MODEL = os.environ.get("MODEL_NAME", "tinyllama")
SYSTEM_PROMPT = os.environ.get("SYSTEM_PROMPT", "")
CAPABILITIES = ["text"]
# Passed on to the model. Others, such as num_ctx, would make the model server load it anew for everybody.
OPTIONS = ("temperature", "num_predict", "seed", "stop")

app = FastAPI(title=NAME)
model = ollama.AsyncClient(timeout=300)


class Execute(BaseModel):
    task: str
    context: dict = {}
    parameters: dict = {}


@app.get("/health")
async def health():
    return {"status": "healthy", "agent": NAME}


@app.get("/info")
async def info():
    revision = os.environ.get("BELLWETHER_REVISION", "")
    kind = os.environ.get("AGENT_TYPE", "general")
    return {"agent": NAME, "type": kind, "revision": revision, "model": MODEL, "capabilities": CAPABILITIES}


@app.post("/execute")
async def execute(asked: Execute):
    options = {name: asked.parameters[name] for name in OPTIONS if name in asked.parameters}
    known = "\n".join(f"{name}: {value}" for name, value in asked.context.items())
    prompt = f"{known}\n\n{asked.task}" if known else asked.task
    try:
        answer = await model.generate(model=MODEL, system=SYSTEM_PROMPT, prompt=prompt, options=options)
        if not answer.response.strip():
            raise ValueError("the model answered nothing")
    except (ollama.ResponseError, httpx.HTTPError, ConnectionError, ValueError) as error:
        # A failure of the model is never a success with an empty result.
        return said(502, status="failed", result=None, error=repr(error))
    return said(200, status="completed", result=answer.response)


def said(code, **fields):
    return JSONResponse({**fields, "agent": NAME, "capabilities": CAPABILITIES}, code)


if __name__ == "__main__":
    uvicorn.run(
        app,
        host=os.environ.get("BELLWETHER_ADDRESS", "127.0.0.1"),
        port=int(os.environ.get("PORT", "8080")),
        timeout_graceful_shutdown=100,
        access_log=False,
    )
