"""A real Label Studio, started for some tests, and its API."""
from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, Optional

import pytest

from helpers.forks import ROOT

SCRIPT = os.path.join(ROOT, 'tools', 'dev', 'label_studio.sh')
#: The first start makes a database, which takes about a minute.
_START = 300  # seconds


class LabelStudio:
    """The API of a server, with a log of what was asked and answered.

    Args:
        url (str): Where it listens.
        token (str): Of a user.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.log: list[str] = []

    def get(self, path: str) -> Any:
        """The json at a path."""
        return json.loads(self.ask('GET', path))

    def post(self, path: str, body: Any) -> Any:
        """Send json, and take some."""
        return json.loads(self.ask('POST', path, json.dumps(body).encode()))

    def upload(self, path: str, files: dict[str, bytes]) -> Any:
        """Send files as the page does."""
        edge = secrets.token_hex(16)
        body = b''.join(
            f'--{edge}\r\nContent-Disposition: form-data; name="{name}"; '
            f'filename="{name}"\r\nContent-Type: application/octet-stream'
            '\r\n\r\n'.encode() + content + b'\r\n'
            for name, content in files.items()) + f'--{edge}--\r\n'.encode()
        return json.loads(self.ask(
            'POST', path, body, f'multipart/form-data; boundary={edge}'))

    def ask(self, method: str, path: str, body: Optional[bytes] = None,
            kind: str = 'application/json') -> bytes:
        """Whatever comes back.

        Raises:
            AssertionError: If it is an error; with what the server says.
        """
        request = urllib.request.Request(
            self.url + path, body, method=method, headers={
                'Authorization': f'Token {self.token}', 'Content-Type': kind})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as e:
            status, content = e.code, e.read()
        self.note(f'{method} {path} -> {status} {_short(content)}')
        assert status < 400, f'{method} {path}: {status} {content[:2000]!r}'
        return content

    def project(self, title: str, labeling_config: str) -> int:
        """Make a project; returns its id."""
        return self.post('/api/projects', dict(
            title=title, label_config=labeling_config))['id']

    def tasks(self, project: int) -> list[dict]:
        """The tasks of a project, with their predictions."""
        return self.get(f'/api/tasks?project={project}&fields=all&page=1'
                        '&page_size=1000')['tasks']

    def export(self, project: int, kind: str) -> bytes:
        """What the button Export gives, photos left out."""
        return self.ask('GET', f'/api/projects/{project}/export?exportType='
                        f'{kind}&download_resources=false')

    def note(self, line: str) -> None:
        """Write a line into the log, and into a file where
        MMAL_LABEL_STUDIO_LOG names one."""
        self.log.append(line)
        path = os.environ.get('MMAL_LABEL_STUDIO_LOG')
        if path:
            with open(path, 'a', encoding='utf-8') as f:
                f.write(line + '\n')


@contextlib.contextmanager
def label_studio(venv: str, folder: str, photos: str
                 ) -> Iterator[LabelStudio]:
    """Start a server with a database of its own.

    Args:
        venv (str): The environment that it is installed in.
        folder (str): Gets the database and the server's own log.
        photos (str): Whose files tasks may name.
    """
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    token = secrets.token_hex(20)
    log = os.path.join(folder, 'label_studio.log')
    with open(log, 'wb') as output:
        process = subprocess.Popen(
            ['bash', SCRIPT, 'start', venv, os.path.join(folder, 'studio'),
             str(port), photos],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            env={**os.environ, 'LABEL_STUDIO_USER_TOKEN': token})
    try:
        url = f'http://127.0.0.1:{port}'
        deadline = time.monotonic() + _START
        while not _is_up(url):
            if process.poll() is not None:
                with open(log, errors='replace') as f:
                    raise AssertionError(
                        f'Label Studio did not start:\n{f.read()[-3000:]}')
            if time.monotonic() > deadline:
                pytest.skip('Label Studio has not started within '
                            f'{_START} s on this machine')
            time.sleep(0.5)
        yield LabelStudio(url, token)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f'{url}/health', timeout=5):
            return True
    except OSError:
        return False


def _short(content: bytes) -> str:
    if content[:1] not in (b'', b'{', b'['):  # a photo or a zip
        return f'{len(content)} bytes'
    text = content[:300].decode('utf-8', 'replace')
    return ' '.join(text.split()) + ('…' if len(content) > 300 else '')
