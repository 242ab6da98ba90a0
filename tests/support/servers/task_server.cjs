// An MCP server on npm `@modelcontextprotocol/sdk` whose tool runs as a task of 2025-11-25.
//
// Run as a program with a file beside whose packages the SDK lies; the port is in PORT. Knows
// nothing of proxies or metrics.
"use strict";
const http = require("node:http");
const { randomUUID } = require("node:crypto");
const { createRequire } = require("node:module");

const load = createRequire(process.argv[2]);
const { McpServer } = load("@modelcontextprotocol/sdk/server/mcp.js");
const { StreamableHTTPServerTransport } = load("@modelcontextprotocol/sdk/server/streamableHttp.js");
const tasks = load("@modelcontextprotocol/sdk/experimental/tasks");
const { z } = load("zod");

const content = [{ type: "text", text: "as asked" }];
const ends = {
  success: (store, id) => store.storeTaskResult(id, "completed", { content }),
  // MCP 2025-11-25, basic/utilities/tasks: a tool's `isError` is a failed task.
  tool_error: (store, id) => store.storeTaskResult(id, "failed", { content, isError: true }),
  failed: (store, id) => store.updateTaskStatus(id, "failed", "as asked"),
};
const work = {
  createTask: async ({ seconds, ending }, { taskStore, taskRequestedTtl }) => {
    const task = await taskStore.createTask({ ttl: taskRequestedTtl ?? null, pollInterval: 50 });
    // A cancelled task cannot end once more: the store refuses.
    setTimeout(() => ends[ending](taskStore, task.taskId).catch(() => {}), seconds * 1000);
    return { task };
  },
  getTask: (_, { taskStore, taskId }) => taskStore.getTask(taskId),
  getTaskResult: (_, { taskStore, taskId }) => taskStore.getTaskResult(taskId),
};
const inputSchema = { seconds: z.number(), ending: z.enum(Object.keys(ends)) };

async function open() {
  const server = new McpServer(
    { name: "task-peer", version: "1.0" },
    {
      capabilities: { tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } },
      taskStore: new tasks.InMemoryTaskStore(),
      taskMessageQueue: new tasks.InMemoryTaskMessageQueue(),
    },
  );
  server.experimental.tasks.registerToolTask("study", { inputSchema }, work);
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, transport),
  });
  await server.connect(transport);
  return transport;
}

const sessions = new Map();
const listener = http.createServer(async (request, response) => {
  const known = sessions.get(request.headers["mcp-session-id"]);
  await (known ?? (await open())).handleRequest(request, response);
});
listener.listen(Number(process.env.PORT));
