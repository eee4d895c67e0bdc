#!/usr/bin/env python3
"""Runs a script of cells on a running JupyterLab, over its REST and WebSocket API.

    notebook.py --server URL --kernel NAME [--set KEY=VALUE]... [--result FILE] SCRIPT

SCRIPT's cells begin at lines `# %% TITLE`. The token is read from JUPYTER_TOKEN. Values of --set are variables of
the kernel before the first cell. What cells print goes to standard error; a cell that raises ends the run with
status 1. FILE gets JSON: the seconds of each cell, and as `result` the last line of JSON that the cells printed.

It runs on the notebook's own Python environment, which has tornado because JupyterLab stands on it.
"""

import argparse
import asyncio
import json
import os
import re
import sys
import time
import uuid
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

CELL = re.compile(r"^# %%\s*(.*)$", re.MULTILINE)


class Failed(Exception):
    """What was asked for did not happen; the text is for the user."""


class Server:
    """A JupyterLab server."""

    def __init__(self, url, token):
        self.url = url.rstrip("/")
        self.headers = {"Authorization": f"token {token}"}

    async def ask(self, method, path, body=None):
        text = json.dumps(body) if body is not None else ("" if method == "POST" else None)
        request = HTTPRequest(
            self.url + path, method=method, headers=self.headers, body=text, request_timeout=60
        )
        try:
            answer = await AsyncHTTPClient().fetch(request)
        except HTTPClientError as why:
            said = why.response.body.decode(errors="replace")[:500] if why.response else ""
            raise Failed(f"cannot {method} {path}: {why}; {said}") from why
        except OSError as why:
            raise Failed(f"cannot reach {self.url}: {why}") from why
        return json.loads(answer.body) if answer.body else None

    async def wait_for_spec(self, name, seconds):
        """Waits until the server offers the kernel `name`."""
        end = time.monotonic() + seconds
        while True:
            specs = (await self.ask("GET", "/api/kernelspecs"))["kernelspecs"]
            if name in specs:
                return specs[name]["spec"]["display_name"]
            if time.monotonic() > end:
                raise Failed(f"the server offers no kernel `{name}`, only {', '.join(sorted(specs)) or 'none'}")
            await asyncio.sleep(0.2)


class Kernel:
    """A kernel of a server with a channel to it, for `async with`."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.session = uuid.uuid4().hex

    async def __aenter__(self):
        self.id = (await self.server.ask("POST", "/api/kernels", {"name": self.name}))["id"]
        try:
            url = re.sub("^http", "ws", self.server.url) + f"/api/kernels/{quote(self.id)}/channels"
            request = HTTPRequest(url, headers=self.server.headers, connect_timeout=60, request_timeout=60)
            self.socket = await websocket_connect(request, max_message_size=64 << 20)
        except BaseException:
            await self.server.ask("DELETE", f"/api/kernels/{self.id}")
            raise
        return self

    async def __aexit__(self, *_):
        self.socket.close()
        try:
            await self.server.ask("DELETE", f"/api/kernels/{self.id}")
        except Failed as why:
            print(why, file=sys.stderr)

    async def run(self, code, seconds, say):
        """Runs one cell to its end; what it prints goes to `say`. A cell that raises is Failed."""
        message = uuid.uuid4().hex
        header = {
            "msg_id": message,
            "session": self.session,
            "username": "quickstart",
            "msg_type": "execute_request",
            "version": "5.3",
        }
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        request = {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": "shell",
            "buffers": [],
        }
        await self.socket.write_message(json.dumps(request))
        end = time.monotonic() + seconds
        replied = idle = False
        while not (replied and idle):
            try:
                text = await asyncio.wait_for(self.socket.read_message(), end - time.monotonic())
            except asyncio.TimeoutError:
                raise Failed(f"a cell took more than {seconds:.0f} s") from None
            if text is None:
                raise Failed("the server closed the kernel's channel")
            got = json.loads(text)
            kind, content = got["header"]["msg_type"], got["content"]
            if kind == "status" and content["execution_state"] in ("dead", "restarting", "autorestarting"):
                raise Failed("the kernel ended; see the log of the notebook's service")
            if got["parent_header"].get("msg_id") != message:
                continue
            if kind == "stream":
                say(content["text"])
            elif kind in ("execute_result", "display_data"):
                say(content["data"].get("text/plain", "") + "\n")
            elif kind == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))
                raise Failed(f"{trace}\n{content['ename']}: {content['evalue']}")
            elif kind == "execute_reply":
                replied = True
            elif kind == "status":
                idle = content["execution_state"] == "idle"


def cells(text):
    """Titles and codes of a script's cells."""
    marks = list(CELL.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [(mark.group(1).strip(), text[mark.end() : end].strip()) for mark, end in zip(marks, ends)]


async def run(args, token):
    server = Server(args.server, token)
    printed = []

    def say(text):
        printed.append(text)
        sys.stderr.write(text)
        sys.stderr.flush()

    with open(args.script, encoding="utf-8") as script:
        todo = cells(script.read())
    if not todo:
        raise Failed(f"{args.script} has no cell: none of its lines begins with `# %%`")
    values = dict(pair.split("=", 1) for pair in args.set)
    steps = []
    start = time.monotonic()
    name = await server.wait_for_spec(args.kernel, args.timeout)
    async with Kernel(server, args.kernel) as kernel:
        setting = "\n".join(f"{key} = {value!r}" for key, value in values.items())
        await kernel.run(setting, args.timeout, say)
        steps.append({"name": "kernel", "seconds": round(time.monotonic() - start, 3)})
        for title, code in todo:
            start = time.monotonic()
            await kernel.run(code, args.timeout, say)
            steps.append({"name": title, "seconds": round(time.monotonic() - start, 3)})
    result = None
    # Spark's progress bars share lines with what cells print.
    for line in re.split(r"[\r\n]+", "".join(printed)):
        if line.strip().startswith("{"):
            try:
                result = json.loads(line)
            except ValueError:
                pass
    return {"kernel": name, "steps": steps, "result": result}


def main():
    parser = argparse.ArgumentParser(description="Runs a script of cells on a running JupyterLab.")
    parser.add_argument("--server", required=True, help="its address, http://HOST:PORT")
    parser.add_argument("--kernel", default="pyspark", help="the name of the kernel's spec")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a variable for the cells")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="the most that a cell may take")
    parser.add_argument("--result", metavar="FILE", help="where JSON about the run goes")
    parser.add_argument("script")
    args = parser.parse_args()
    try:
        done = asyncio.run(run(args, os.environ.get("JUPYTER_TOKEN", "")))
    except Failed as why:
        print(f"notebook: {why}", file=sys.stderr)
        return 1
    text = json.dumps(done, indent=2)
    if args.result:
        with open(args.result, "w", encoding="utf-8") as out:
            out.write(text + "\n")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
