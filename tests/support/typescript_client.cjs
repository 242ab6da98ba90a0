// An MCP client on npm `@modelcontextprotocol/sdk` that writes down all that is said, as JSON.
//
// Run as a program with a file beside whose packages the SDK lies, an URL, and the name of a tool
// with arguments for it, which has to succeed. Knows nothing of proxies or metrics.
"use strict";
const { createRequire } = require("node:module");

const [beside, url, tool, given] = process.argv.slice(2);
const load = createRequire(beside);
const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const types = load("@modelcontextprotocol/sdk/types.js");
const { SSEClientTransport } = load("@modelcontextprotocol/sdk/client/sse.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");

const said = { sent: [], received: [], exchanges: [], steps: [] };

// What the SDK asks of HTTP: method, status and media type of each exchange.
const asked = [];

async function watch(input, init = {}) {
  const asking = fetch(input, init);
  asked.push(asking.catch(() => {}));
  const answer = await asking;
  const kind = (answer.headers.get("content-type") || "").split(";")[0];
  said.exchanges.push(`${init.method || "GET"} ${answer.status} ${kind}`);
  return answer;
}

async function step(name, work) {
  try {
    said.steps.push([name, await work()]);
  } catch (error) {
    said.steps.push([name, { code: error.code, message: error.message }]);
  }
}

async function main() {
  const address = new URL(url);
  const transport = address.pathname.endsWith("/sse")
    ? new SSEClientTransport(address, { fetch: watch, eventSourceInit: { fetch: watch } })
    : new StreamableHTTPClientTransport(address, { fetch: watch });
  const client = new Client(
    { name: "typescript", version: "1.0" },
    { capabilities: { sampling: {}, elicitation: {} } },
  );
  client.setRequestHandler(types.CreateMessageRequestSchema, () => ({
    model: "none",
    role: "assistant",
    content: { type: "text", text: "sampled" },
  }));
  client.setRequestHandler(types.ElicitRequestSchema, () => ({ action: "decline" }));
  client.onerror = () => {};

  const send = transport.send.bind(transport);
  transport.send = (message, options) => {
    said.sent.push(message);
    return send(message, options);
  };
  await client.connect(transport);
  const hear = transport.onmessage;
  transport.onmessage = (message, extra) => {
    said.received.push(message);
    hear(message, extra);
  };

  const ask = { timeout: 20000, onprogress: () => {} };
  await step("server", async () => [client.getServerVersion(), client.getServerCapabilities()]);
  await step("ping", () => client.ping());
  await step("tools", () => client.listTools());
  await step("prompts", () => client.listPrompts());
  await step("resources", () => client.listResources());
  for (let round = 0; round < 3; round += 1) {
    await step("success", () =>
      client.callTool({ name: tool, arguments: JSON.parse(given) }, undefined, ask),
    );
  }
  const odd = Object.fromEntries(Object.keys(JSON.parse(given)).map((name) => [name, "é\u2028\0"]));
  await step("odd arguments", () => client.callTool({ name: tool, arguments: odd }));
  await step("unknown tool", () => client.callTool({ name: "no-such-tool", arguments: {} }));
  await step("unknown prompt", () => client.getPrompt({ name: "no-such-prompt" }));
  await step("unknown resource", () => client.readResource({ uri: "test://no-such-resource" }));
  await step("sampling", () =>
    client.callTool({ name: "trigger-sampling-request", arguments: { prompt: "why" } }, undefined, ask),
  );
  await step("together", () =>
    Promise.all(
      [1, 2, 3, 4].map(() => client.callTool({ name: tool, arguments: JSON.parse(given) }, undefined, ask)),
    ),
  );
  if (transport.terminateSession) {
    await step("end", () => transport.terminateSession());
  }
  // Over the old transport the answer to a call may come before that to its POST.
  await Promise.all(asked);
  await client.close();
  process.stdout.write(JSON.stringify(said));
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
