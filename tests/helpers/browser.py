"""Chromium without a window, for the tests of interactive pages."""

import http.server
import json
import queue
import shutil
import subprocess
import threading

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def browse(page, profile):
    """Opens a page in Chromium, and returns what its script posts."""
    records = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = page.encode() if self.path == "/" else b""
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            records.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *unused):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader"]
    options += ["--use-gl=angle", "--use-angle=swiftshader", "--window-size=1200,800"]
    # A port keeps it open: without one, it would leave as soon as the page is loaded.
    options += [f"--user-data-dir={profile}", "--remote-debugging-port=0"]
    process = subprocess.Popen(
        [CHROMIUM, *options, f"http://127.0.0.1:{server.server_port}/"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return records.get(timeout=120)
    finally:
        process.terminate()
        process.wait(20)
        server.shutdown()
        server.server_close()
