import { Ollama } from "ollama";

import { absent, all, end, long, messages, model, prompt, step } from "./transcript.mjs";

const client = new Ollama({ host: process.env.BASE });

await step("generate", () => client.generate({ model, prompt }));
await step("generate, streamed", () => all(client.generate({ model, prompt, stream: true })));
await step("chat", () => client.chat({ model, messages }));
await step("chat, streamed", () => all(client.chat({ model, messages, stream: true })));
await step("embed", () => client.embed({ model, input: ["one", "two words"] }));
await step("embeddings", () => client.embeddings({ model, prompt }));
await step("list", () => client.list());
await step("ps", async () => (await client.ps()).models.map((loaded) => loaded.model));
await step("show", () => client.show({ model }));
await step("left early", async () => {
  const stream = await client.generate({ model, prompt: long, stream: true });
  for await (const _piece of stream) stream.abort();
});
await step("after that", () => client.generate({ model, prompt }));
await step("absent", () => client.generate({ model: absent, prompt }));
await step("absent, streamed", () => all(client.chat({ model: absent, messages, stream: true })));
await step("absent, embedded", () => client.embed({ model: absent, input: "x" }));
await step("eight at once", () => Promise.all(Array.from({ length: 8 }, () => client.chat({ model, messages }))));
end();
