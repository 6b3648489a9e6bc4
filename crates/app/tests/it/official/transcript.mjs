// What the JavaScript clients share; see transcript.py.

export const model = "tinyllama";
export const absent = "no-such-model";
export const prompt = "Say hello.";
export const messages = [{ role: "user", content: prompt }];
export const long = "Tell the whole story in about 4000 words.";

const volatile = (key) =>
  ["created", "created_at", "id", "modified_at", "expires_at"].includes(key) || key.endsWith("_duration");
const plain = (value) =>
  JSON.parse(JSON.stringify(value, (key, inner) => (volatile(key) ? undefined : inner)) ?? "null");

const steps = [];

export const step = async (name, call) => {
  try {
    steps.push([name, plain(await call())]);
  } catch (error) {
    const status = error.status ?? error.status_code ?? null;
    steps.push([name, { error: error.constructor.name, status, says: error.message }]);
  }
};

export const all = async (stream) => {
  const pieces = [];
  for await (const piece of await stream) pieces.push(piece);
  return pieces;
};

export const end = () => console.log(JSON.stringify(steps));
