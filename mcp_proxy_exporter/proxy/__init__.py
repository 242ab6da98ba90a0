"""The HTTP/1.1 data plane: what carries the bytes, and nothing about what they mean.

A newcomer's glossary. *Downstream* is the client's side, *upstream* the server's.
`server.ProxyServer` listens for one configured server; each accepted socket is a
`downstream.ClientConnection`, each socket to the server an `upstream.UpstreamConnection`, kept idle
in the `pool.UpstreamPool` between uses. An `exchange.HttpExchange` joins the two for one HTTP
request and its answer: `relay` is how its bytes pass, `exchange` how it begins and each way it can
end. `wire`, with `heads` and `chunks`, splits bytes into messages (RFC 9112) without a socket in
sight; `headers` says which fields change on the way; `admission` says what is refused; `errors`
says whose fault a failure is and how it is answered; `deadlines` ends what takes too long;
`sockets` asks the system for what event loops do not offer.

The order on every byte is: write to the other side, then tell the `mcp_proxy_exporter.tap`.
"""
