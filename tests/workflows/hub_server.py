"""A small hub on this machine: the endpoints that pushing and pulling a run ask, everything in memory."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"
Files = dict[str, bytes]


class Hub:
    """Repositories, each a list of commits, and what was asked."""

    def __init__(self) -> None:
        self.commits: dict[str, list[tuple[str, Files]]] = {}
        self.private: dict[str, bool] = {}
        self.asked: list[str] = []
        self.url = ""

    def files(self, repo: str, revision: str) -> tuple[str, Files] | None:
        """Return the commit that a revision names, and its files."""
        found = self.commits.get(repo, [])
        named = found[-1:] if revision == "main" else [one for one in found if one[0] == revision]
        return named[0] if named else None

    def commit(self, repo: str, change: dict[str, bytes | None]) -> str:
        """Add a commit; None removes a file."""
        files = dict(self.commits[repo][-1][1]) if self.commits[repo] else {}
        for name, content in change.items():
            files.pop(name, None) if content is None else files.update({name: content})
        text = repr(sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items()))
        self.commits[repo].append((hashlib.sha1(f"{len(self.commits[repo])} {text}".encode()).hexdigest(), files))
        return self.commits[repo][-1][0]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._file(body=False)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(?:tree|revision)/([^/]+))?", path)
        if tree is None:
            self._file(body=True)
            return
        self.hub.asked.append(f"GET {path}")
        found = self.hub.files(tree[1], tree[2] or "main")
        if found is None:
            self._missing(tree[1])
        elif "/tree/" in path:
            self._json(
                [{"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()} for n, d in found[1].items()]
            )
        else:
            self._json({"id": tree[1], "sha": found[0], "siblings": [{"rfilename": name} for name in found[1]]})

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append(f"POST {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Invalid credentials"}, 401)
            return
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization') or 'lab'}/{asked['name']}"
            # Newer versions of the hub's library say `visibility`, older ones `private`.
            self.hub.private.setdefault(repo, asked.get("visibility") == "private" or bool(asked.get("private")))
            if repo not in self.hub.commits:
                self.hub.commits[repo] = []
                self.hub.commit(repo, {".gitattributes": b""})
            self._json({"url": f"{self.hub.url}/{repo}", "name": repo})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/[^/]+", path):
            files = json.loads(body)["files"]
            self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/[^/]+", path):
            change: dict[str, bytes | None] = {}
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    change[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] in ("deletedFile", "deletedEntry"):
                    change[value["path"]] = None
            oid = self.hub.commit(found[1], change)
            self._json(
                {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{found[1]}/commit/{oid}", "hookOutput": ""}
            )
        else:
            self._json({"error": f"not spoken here: {path}"}, 404)

    def _file(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        asked = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if asked is None or asked[1] not in self.hub.commits:
            self._missing(asked[1] if asked else path)
            return
        if self.hub.private[asked[1]] and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Invalid credentials"}, 401, {"X-Error-Code": "RepoNotFound"})
            return
        found = self.hub.files(asked[1], asked[2])
        if found is None:
            self._json({"error": "no revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif asked[3] not in found[1]:
            self._json({"error": "no entry"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found[0]})
        else:
            content = found[1][asked[3]]
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-")[1])  # type: ignore[index]
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", found[0])
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            if body:
                self.wfile.write(content[start:])

    def _missing(self, repo: str) -> None:
        self._json({"error": f"{repo} is not here"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _json(self, content: Any, code: int = 200, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub for a while."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
