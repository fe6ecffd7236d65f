"""The HTTP of the backend: json in, json out, nothing else."""
from __future__ import annotations

import json
import re
import socket
import sys
import traceback
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Optional
from urllib.parse import urlsplit

from mmal.version import __version__
from .backend import LabelStudioBackend
from .refusal import Refusal

# bytes: a task has some hundred, or the photo itself where the request was
# made with its photos in it
LARGEST_BODY = 2**27
_SILENCE = 30  # seconds that a client may keep a thread waiting


class BackendServer(ThreadingHTTPServer):
    """Listens, and asks the backend; each connection has a thread.

    Args:
        backend (LabelStudioBackend): Answers.
        host (str): The address to listen at.
        port (int): The port; 0 for any that is free.

    Raises:
        OSError: If it cannot listen there.
    """
    daemon_threads = True

    def __init__(self, backend: LabelStudioBackend, host: str,
                 port: int) -> None:
        self.backend = backend
        if ':' in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as e:
            raise OSError(
                f'cannot listen at {host}, port {port}: {e.strerror or e}. '
                'Give another --host or --port.') from e

    def server_bind(self) -> None:
        """Without the question for the machine's name, which may take
        long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server_version = f'mmal/{__version__}'
    sys_version = ''
    timeout = _SILENCE
    _unread = False

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def finish(self) -> None:
        """Read on for a while where a body was refused: a connection that is
        closed with bytes unread is torn down, and the answer with it."""
        if self._unread:
            with suppress(OSError):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_WR)
                left = 2 * LARGEST_BODY
                while left > 0 and (part := self.connection.recv(2**16)):
                    left -= len(part)
        super().finish()

    def _answer(self) -> None:
        try:
            path = '/' + urlsplit(self.path).path.strip('/')
            body = self._body()
            content = self.server.backend.answer(self.command, path, body)
            self._send(200, content)
        except Refusal as e:
            self._send(e.status, dict(error=str(e)), str(e))
        except OSError as e:
            # the client has gone, or a file of the run has
            if isinstance(e, (ConnectionError, TimeoutError)):
                raise
            self._send(500, dict(error=str(e)), str(e))
        except Exception as e:
            # one request that fails must not end the others
            traceback.print_exc(file=sys.stderr)
            self._send(500, dict(error=f'{type(e).__name__}: {e}'))

    def _body(self) -> dict:
        """The json object that was sent.

        Raises:
            Refusal: If there is none, or it is too long.
        """
        length = self.headers.get('Content-Length')
        if self.command == 'GET' and length is None and \
                'Transfer-Encoding' not in self.headers:
            return {}
        # what is not read would be taken for the next request
        keep, self.close_connection = self.close_connection, True
        self._unread = True
        if length is None or 'Transfer-Encoding' in self.headers:
            raise Refusal('Send a Content-Length, not chunks.', 411)
        if not re.fullmatch(r'[0-9]{1,18}', length):
            raise Refusal('Content-Length is no number of bytes.')
        if int(length) > LARGEST_BODY:
            raise Refusal(f'The request has {int(length):,} bytes; at most '
                          f'{LARGEST_BODY:,} are read. Send fewer tasks at '
                          'once.', 413)
        content = self.rfile.read(int(length))
        if len(content) < int(length):
            raise Refusal('The request ends before its Content-Length.')
        self.close_connection, self._unread = keep, False
        if self.command == 'GET':
            return {}
        # pages of other sites cannot send this type without being asked
        if self.headers.get_content_type() != 'application/json':
            raise Refusal('Send the Content-Type application/json.', 415)
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as e:
            raise Refusal(f'The body is not json: {e}.') from e
        if not isinstance(body, dict):
            raise Refusal('The body is no json object.')
        return body

    def _send(self, status: int, content: dict,
              reason: Optional[str] = None) -> None:
        data = json.dumps(content).encode()
        # Label Studio shows people the status line alone
        if reason is not None:
            reason = ' '.join(re.sub(r'[^!-~]+', ' ', reason)[:300].split())
        self.send_response(status, reason or None)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        if self.close_connection:
            self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(data)

    def send_error(self, code: int, message: Optional[str] = None,
                   explain: Optional[str] = None) -> None:
        """What is no HTTP, or of another method, is answered with json
        too."""
        self.close_connection = True
        self._send(int(code), dict(error=message or 'This cannot be served.'),
                   message)

    def log_message(self, format: str, *args) -> None:
        line = f'{self.address_string()}: {format % args}'
        # nobody who asks may write to the terminal
        self.server.backend.say(''.join(
            c if c.isprintable() else ascii(c)[1:-1] for c in line))
