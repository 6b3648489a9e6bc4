import assert from "node:assert";

import standard, { Ollama } from "ollama";

import { asGivenAndByPath, messages, model, prompt, stay } from "./js_common.mjs";

// It reads no variable: what is imported calls a fixed address, past everybody.
assert.equal(standard.config.host, "http://127.0.0.1:11434");

for (const host of asGivenAndByPath(process.env.OLLAMA_HOST)) {
  const client = new Ollama({ host });
  await client.generate({ model, prompt });
  await client.chat({ model, messages });
  for await (const _piece of await client.generate({ model, prompt, stream: true }));
  await client.list();
}
stay();
