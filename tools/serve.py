"""Opens the built book from this machine: `python tools/serve.py HTML_FOLDER`; Ctrl-C ends it.

A page that was opened as a file may load no modules and share no memory among threads; one from the loopback, sent with
the two headers below, may.
"""

import argparse
import functools
import http.server
import sys
import webbrowser
from pathlib import Path

# What lets a browser share memory among threads: nothing from elsewhere is in the page, and it is in nobody else's.
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


class Pages(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",  # Windows may have another idea
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".gz": "application/octet-stream",
    }

    def end_headers(self):
        for name, value in ISOLATED.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")  # a book that was built anew is seen at once
        super().end_headers()

    def log_message(self, *_):
        pass


def server(folder, port=0):
    """A server of a folder on the loopback; port 0 takes a free one."""
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Pages, directory=str(folder)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("html", help="the folder of the built book's pages")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    if not (Path(options.html) / "index.html").is_file():
        sys.exit(f"{options.html}: found no index.html; expected a built book; run `make book` first")
    try:
        serving = server(options.html, options.port)
    except OSError as error:
        sys.exit(f"port {options.port}: {error.strerror}; choose another one with --port")
    address = f"http://127.0.0.1:{serving.server_port}/index.html"
    print(f"The book: {address} (Ctrl-C ends it)", flush=True)
    if not options.no_browser:
        webbrowser.open(address)
    try:
        serving.serve_forever()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
