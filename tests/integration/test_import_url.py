"""``import URL``: an archive from the web becomes an image, and nothing else does."""

import gzip
import http.server
import threading
from collections.abc import Iterator

import pytest
from support.containers import complaint, inspected
from support.tar_files import Entry, content, tar_of

pytestmark = pytest.mark.same_for_every_user

ARCHIVE = gzip.compress(tar_of([Entry("hello", content="from the web")]))


class Handler(http.server.BaseHTTPRequestHandler):
    """What each path answers."""

    def do_GET(self) -> None:
        answer = getattr(self, "answer_" + self.path.strip("/"), None)
        if answer:
            answer()
        else:
            self.send_error(404)

    def answer_rootfs(self) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(ARCHIVE)))
        self.end_headers()
        self.wfile.write(ARCHIVE)

    def answer_moved(self) -> None:
        self._redirect("/rootfs")

    def answer_circle(self) -> None:
        self._redirect("/circle")

    def answer_file(self) -> None:
        self._redirect("file:///etc/passwd")

    def answer_broken(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(ARCHIVE)))
        self.end_headers()
        self.wfile.write(ARCHIVE[:-30])

    def _redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where the server listens, on loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def test_a_url_is_imported_through_redirects(cli, shared_store, url, name):
    tag = f"{name}:1"
    done = cli("import", f"{url}/moved".replace("//", "//user:secret@"), tag, check=True)
    assert done.stdout.splitlines()[0] == f"Downloading from {url}/moved"
    assert done.stdout.splitlines()[1] == inspected(shared_store, tag)["Id"]
    assert inspected(shared_store, tag)["Comment"] == f"Imported from {url}/moved"
    cli("create", "--name", name, tag, "true", check=True)
    assert content(cli("export", name, text=False, check=True).stdout, "hello") == b"from the web"
    cli("rm", name, check=True)
    cli("rmi", tag, check=True)


@pytest.mark.parametrize(("path", "why"), [
    ("missing", "404 Not Found"), ("circle", "redirects"), ("file", ""), ("broken", ""),
])  # fmt: skip
def test_what_is_not_an_archive_on_the_web_is_one_line_and_no_image(cli, url, path, why):
    assert why in complaint(cli("import", f"{url}/{path}", "web:1"), 1)
    assert complaint(cli("rmi", "web:1"), 1)


def test_a_server_that_is_not_there_is_named(cli):
    assert "http://127.0.0.1:1/x" in complaint(cli("import", "http://127.0.0.1:1/x"), 1)
    assert complaint(cli("import", "http://[bad"), 1)
    assert "no such file" in complaint(cli("import", "ftp://127.0.0.1/x"), 1)


def test_the_platform_of_what_is_imported_is_told(cli, shared_store, name):
    tag = f"{name}:1"
    archive = tar_of([Entry("file")])
    cli("import", "--platform", "linux/arm64", "-", tag, input=archive, text=False, check=True)
    assert inspected(shared_store, tag)["Architecture"] == "arm64"
    cli("rmi", tag, check=True)
    assert "operating system is not supported" in complaint(cli("import", "--platform", "windows", "-"), 1)
    assert complaint(cli("import", "--platform", "a/b/c/d", "-"), 1)
