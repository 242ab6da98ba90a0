// Loaded by `node --require` before a server that offers no host setting: whatever it
// listens on, it listens on the loopback address only.
"use strict";
const net = require("node:net");

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function listenOnLoopback(first, ...rest) {
  const isPort = typeof first === "number" || (typeof first === "string" && /^\d+$/.test(first));
  if (!isPort) return listen.call(this, first, ...rest);
  const callback = rest.find((value) => typeof value === "function");
  return listen.call(this, { port: Number(first), host: "127.0.0.1" }, callback);
};
