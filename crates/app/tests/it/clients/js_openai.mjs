import OpenAI from "openai";

import { asGivenAndByPath, messages, model, stay } from "./js_common.mjs";

for (const url of asGivenAndByPath(process.env.OPENAI_BASE_URL)) {
  process.env.OPENAI_BASE_URL = url;
  const client = new OpenAI({ apiKey: "unused", maxRetries: 0 });
  await client.chat.completions.create({ model, messages });
  for await (const _piece of await client.chat.completions.create({ model, messages, stream: true }));
  await client.models.list();
}
stay();
