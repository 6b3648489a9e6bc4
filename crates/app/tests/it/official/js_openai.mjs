import OpenAI from "openai";

import { absent, all, end, long, messages, model, prompt, step } from "./transcript.mjs";

const client = new OpenAI({ baseURL: `${process.env.BASE}/v1`, apiKey: "unused", maxRetries: 0 });
const chat = (settings) => client.chat.completions.create({ model, messages, ...settings });

await step("chat", () => chat({}));
await step("chat, streamed", () => all(chat({ stream: true })));
await step("chat, with usage", () => all(chat({ stream: true, stream_options: { include_usage: true } })));
await step("completion", () => client.completions.create({ model, prompt }));
await step("embeddings", () => client.embeddings.create({ model, input: ["one", "two words"] }));
await step("models", () => all(client.models.list()));
await step("left early", async () => {
  const stream = await chat({ messages: [{ role: "user", content: long }], stream: true });
  for await (const piece of stream) return piece;
});
await step("after that", () => chat({}));
await step("absent", () => chat({ model: absent }));
await step("absent, streamed", () => all(chat({ model: absent, stream: true })));
await step("absent, embedded", () => client.embeddings.create({ model: absent, input: "x" }));
await step("eight at once", () => Promise.all(Array.from({ length: 8 }, () => chat({}))));
end();
