"""The HTTP server: gunicorn's gevent worker, and its protections for use without a reverse proxy.

`ava up` and the compose file have no proxy, so this package protects against these rows of `chaos/THREATS.md`. A
stock worker protects against none:

- `connection_server`: floods of silent connections, and new requests behind earlier ones.
- `request_body`: endless heads, and heads in many pieces: gunicorn parses a head of 156 kB that arrives byte by byte
  in 21 s of processor time, because it searches all received bytes again for each piece. Also bodies that are
  announced and never sent, slow bodies, and the rest of refused bodies.
- `greenlet_worker`: idle connections that occupy all greenlets, clients that do not read, errors in the contract's
  form, health checks on their own port, and a stop that closes idle connections. It also sends a response's head and
  body in one call, which no threat requires.
- `api_processes`: silent connections stay in the kernel (`TCP_DEFER_ACCEPT`), and memory of large bodies is returned.
"""
