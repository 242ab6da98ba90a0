// Loaded by `node --require` before the conformance suite: what it serves, it serves on the
// loopback address only.
"use strict";
const dns = require("node:dns");
require("../support/servers/loopback.cjs");

// A server with a host looks it up before it listens, and some of the suite's scenarios ask for
// their port at once. The address needs no look-up: answer without delay, so that they listen
// as soon as they would without a host.
const lookup = dns.lookup;
dns.lookup = function lookUpWithoutDelay(host, options, callback) {
  if (host !== "127.0.0.1" || !options?.all) return lookup(host, options, callback);
  return callback(null, [{ address: host, family: 4 }]);
};
