"""Reviews of bookinfo's books, in its fourth version: with green stars.

It needs Python's standard library alone. Where to listen is in PORT. Where ratings is, is written as
it would be in a cluster: urllib sends the request to the proxy that http_proxy names, if there is one.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RATINGS = os.environ.get("RATINGS", "http://ratings:9080")

# What a service passes on, so that traces stay together and rules about users hold further on.
PASSED_ON = ["x-request-id", "traceparent", "tracestate", "end-user", "user-agent", "cookie"]

REVIEWS = {
    "Reviewer1": "Nobody on this stage knows who is who. Neither did I, until I began to debug it.",
    "Reviewer2": "Four stars. The fifth comes when this service has left my laptop.",
}


def stars(product, headers):
    """The stars of each reviewer; why there are none in the place of them."""
    request = urllib.request.Request(f"{RATINGS}/ratings/{product}")
    for name in PASSED_ON:
        if headers[name]:
            request.add_header(name, headers[name])
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["ratings"], None
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        print("ratings:", error, file=sys.stderr)
        return {}, "Ratings service is currently unavailable"


def reviews(product, headers):
    """The answer about one product, as productpage reads it."""
    given, problem = stars(product, headers)
    out = []
    for reviewer, text in REVIEWS.items():
        rating = {"error": problem} if problem else {"stars": given.get(reviewer), "color": "green"}
        out.append({"reviewer": reviewer, "text": text, "rating": rating})
    pod = os.environ.get("POD_NAME", "laptop")
    return {"id": product, "podname": pod, "clustername": "null", "reviews": out}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        first, _, product = self.path.lstrip("/").partition("/")
        if self.path == "/health":
            self.answer(200, {"status": "Reviews is healthy"})
        elif first == "reviews" and product:
            self.answer(200, reviews(product, self.headers))
        else:
            self.answer(404, {"error": "no such page"})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code="-", size="-"):
        if self.path != "/health":
            print(self.command, self.path, int(code))


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "9080"))
    print("reviews listens on", port)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
