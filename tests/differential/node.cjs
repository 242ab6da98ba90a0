// A server on Node's own parser that says in each answer which request it saw.
"use strict";
const http = require("node:http");

function answer(request, response) {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const body = Buffer.concat(pieces).toString("latin1");
    const fields = [];
    for (let at = 0; at < request.rawHeaders.length; at += 2) {
      fields.push([request.rawHeaders[at], request.rawHeaders[at + 1]]);
    }
    const saw = JSON.stringify([request.method, request.url, fields, body]);
    response.writeHead(204, { "X-Saw": Buffer.from(saw).toString("base64") });
    response.end();
  });
}

const server = http.createServer({ keepAliveTimeout: 60000 }, answer);
// Without these, Node answers by itself what expects something; and without the word that was
// expected it closes the connection after the answer.
server.on("checkContinue", (request, response) => {
  response.writeContinue();
  answer(request, response);
});
server.on("checkExpectation", answer);
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("listening"));
