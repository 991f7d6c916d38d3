"""Sockets of both kinds on this machine, a web server and its client."""

import http.server
import socket
import threading
import urllib.request

a, b = socket.socketpair()
a.send(b"x")
assert b.recv(1) == b"x"
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
thread = threading.Thread(target=server.serve_forever)
thread.start()
with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as page:
    assert page.status == 200
server.shutdown()
thread.join()
server.server_close()
