"""The HTTP of the backend, over a real socket."""
import contextlib
import http.client
import json
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.serving import server as server_module
from mmal.serving.refusal import Refusal
from mmal.serving.server import BackendServer

JSON = {'Content-Type': 'application/json'}


class Echo:
    """A backend that answers with what it was asked."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    def answer(self, method, path, body):
        if path == '/refused':
            raise Refusal('No “ü”.\r\nSet-Cookie: a=b', 418)
        if path == '/gone':
            raise FileNotFoundError('there is no round_03')
        if path == '/broken':
            raise RuntimeError('a tensor')
        return dict(method=method, path=path, body=body)


@contextlib.contextmanager
def listening(backend, host='127.0.0.1'):
    with BackendServer(backend, host, 0) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs=dict(poll_interval=.01))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope='module')
def server():
    with listening(Echo()) as server:
        yield server


def ask(server, method, path, body=None, headers=JSON):
    """Status, reason and json of an answer."""
    connection = http.client.HTTPConnection(
        *server.server_address[:2], timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        assert answer.headers['Content-Type'] == 'application/json'
        assert int(answer.headers['Content-Length']) > 0
        return answer.status, answer.reason, json.loads(answer.read())


def raw(server, *parts):
    """All that comes back for some bytes, until the server ends it."""
    with socket.create_connection(server.server_address, 30) as s:
        for part in parts:
            s.sendall(part)
        s.shutdown(socket.SHUT_WR)
        return b''.join(iter(lambda: s.recv(65536), b''))


def test_it_listens_at_this_machine_alone(server):
    assert server.server_address[0] == '127.0.0.1'


def test_where_it_cannot_listen(server):
    port = server.server_address[1]
    with pytest.raises(OSError, match=f'127.0.0.1, port {port}: .* --port'):
        BackendServer(Echo(), '127.0.0.1', port)
    with pytest.raises(OSError, match='at nowhere.invalid, port 0: '):
        BackendServer(Echo(), 'nowhere.invalid', 0)


def test_it_listens_at_an_address_of_version_6():
    try:
        with listening(Echo(), '::1') as server:
            assert ask(server, 'GET', '/health')[0] == 200
    except OSError as e:
        pytest.skip(f'no IPv6 here: {e}')


@pytest.mark.parametrize('method, path, body, asked', [
    ('GET', '/health', None, '/health'),
    ('GET', '/health/?a=b', None, '/health'),
    ('GET', '/', None, '/'),
    ('POST', '/predict', b'{"tasks": ["\xc3\xbc"]}', '/predict'),
    ('POST', '/setup/', b'{}', '/setup'),
])
def test_requests_reach_the_backend(server, method, path, body, asked):
    assert ask(server, method, path, body) == (200, 'OK', dict(
        method=method, path=asked, body=json.loads(body) if body else {}))


def test_a_connection_may_be_used_again(server):
    connection = http.client.HTTPConnection(
        *server.server_address[:2], timeout=30)
    with contextlib.closing(connection):
        for n in range(3):
            connection.request('POST', '/predict', json.dumps(dict(n=n)), JSON)
            answer = json.loads(connection.getresponse().read())
            assert answer['body'] == dict(n=n)


@pytest.mark.parametrize('body, headers, status, message', [
    (b'no json', JSON, 400, 'not json'),
    (b'', JSON, 400, 'not json'),
    (b'[]', JSON, 400, 'no json object'),
    (b'null', JSON, 400, 'no json object'),
    (b'\xff\xfe', JSON, 400, 'not json'),
    (b'[' * 200_000, JSON, 400, 'not json'),
    (b'{"a": ' + b'9' * 10_000 + b'}', JSON, 400, 'not json'),
    (b'{}', {'Content-Type': 'text/plain'}, 415, 'application/json'),
    (b'a=b', {'Content-Type': 'application/x-www-form-urlencoded'}, 415,
     'application/json'),
    (b'{}', {}, 415, 'application/json'),
    (b'', {**JSON, 'Content-Length': '-1'}, 400, 'no number of bytes'),
    (b'', {**JSON, 'Content-Length': '1e3'}, 400, 'no number of bytes'),
    (b'', {**JSON, 'Content-Length': '9' * 5000}, 400, 'no number of bytes'),
    (b'', {**JSON, 'Content-Length': str(server_module.LARGEST_BODY + 1)},
     413, 'Send fewer tasks'),
    (b'2\r\n{}\r\n0\r\n\r\n', {**JSON, 'Transfer-Encoding': 'chunked'}, 411,
     'not chunks'),
])
def test_bodies_that_are_not_read(server, body, headers, status, message):
    found, reason, content = ask(server, 'POST', '/predict', body, headers)
    assert found == status and message in content['error']
    assert message in reason


def test_what_was_not_read_is_no_request(server):
    hidden = b'GET /health HTTP/1.1\r\n\r\n'
    head = b'POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n'
    answer = raw(server, head, hidden)
    assert answer.count(b'HTTP/1.1 ') == 1 and b' 411 ' in answer
    assert b'Connection: close' in answer


def test_a_body_that_ends_early(server):
    answer = raw(server, b'POST /predict HTTP/1.1\r\nContent-Type: '
                 b'application/json\r\nContent-Length: 10\r\n\r\n{}')
    assert b' 400 ' in answer and b'ends before' in answer


@pytest.mark.parametrize('method', ['PUT', 'DELETE', 'HEAD', 'OPTIONS', 'X'])
def test_other_methods(server, method):
    answer = raw(server, method.encode() + b' /health HTTP/1.1\r\n\r\n')
    assert answer.startswith(b'HTTP/1.1 501 ')
    assert b'application/json' in answer


def test_a_reason_stands_in_the_status_line(server):
    """It is all that Label Studio shows; and it is one line."""
    status, reason, content = ask(server, 'POST', '/refused', b'{}')
    assert (status, reason) == (418, 'No . Set-Cookie: a=b')
    assert content == dict(error='No “ü”.\r\nSet-Cookie: a=b')
    assert b'\r\nSet-Cookie' not in raw(
        server, b'GET /refused HTTP/1.1\r\n\r\n')


def test_what_fails_is_told_and_ends_nothing(server, capsys):
    assert ask(server, 'GET', '/gone')[::2] == (
        500, dict(error='there is no round_03'))
    assert capsys.readouterr().err == ''
    assert ask(server, 'GET', '/broken')[::2] == (
        500, dict(error='RuntimeError: a tensor'))
    assert 'Traceback' in capsys.readouterr().err
    assert ask(server, 'GET', '/health')[0] == 200


def test_the_log_has_a_line_a_request(server):
    lines = server.backend.lines
    lines.clear()
    ask(server, 'GET', '/health?a=%0d%0a')
    raw(server, b'GET /\x1b[31m HTTP/1.1\r\n\r\n')
    assert len(lines) > 1
    assert lines[0] == '127.0.0.1: "GET /health?a=%0d%0a HTTP/1.1" 200 -'
    assert all(line.isprintable() for line in lines)


@settings(max_examples=150, deadline=None)
@given(st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=60).map(
        lambda b: b'POST /predict HTTP/1.1\r\nContent-Length: ' +
        str(len(b)).encode() + b'\r\n\r\n' + b),
    st.binary(max_size=60).map(lambda b: b'GET /' + b + b'\r\n\r\n')))
def test_any_bytes_are_answered(server, content):
    answer = raw(server, content)
    assert not answer or answer.startswith((b'HTTP/1.1 ', b'{'))
    assert b' 500 ' not in answer.split(b'\r\n')[0]
