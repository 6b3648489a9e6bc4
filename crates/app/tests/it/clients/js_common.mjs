// What the JavaScript clients share; see common.py.

export const model = process.env.MODEL_NAME;
export const prompt = `[${process.env.AGENT_NAME}] Say hello.`;
export const messages = [{ role: "user", content: prompt }];

export const asGivenAndByPath = (url) => [url, url.replace(/\/\/[0-9.]+:/, "//127.0.0.1:")];

export const stay = () => {
  console.log("done");
  setInterval(() => {}, 60_000);
};
