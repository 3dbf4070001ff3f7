"""Headless Chromium over its debugging pipe, without any package."""

from __future__ import annotations

import json
import os
import select
import subprocess
from typing import Any

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--window-size=1300,1000"]
# A page that nobody looks at draws no frames: this one counts as looked at.
FLAGS += ["--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding"]

PATIENCE = 100
"""Seconds after which a browser that says nothing has failed."""


class Browser:
    """One page: what it logs, what it asks for, and what a mouse does."""

    def __init__(self, executable: str, profile: str) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # Chromium reads commands from descriptor 3 and writes to descriptor 4.
        command = ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", executable, *FLAGS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Page.bringToFront")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], PATIENCE)[0]:
                raise RuntimeError(f"the browser said nothing for {PATIENCE} seconds")
            piece = os.read(self._read, 1 << 16)
            if not piece:
                raise RuntimeError("the browser closed its pipe")
            self._buffer += piece
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result; events on the way are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if session or self._session:
            message["sessionId"] = session or self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, url: str) -> None:
        """Go to a page and wait until it has loaded; what others logged is forgotten."""
        self.events.clear()
        self.send("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def evaluate(self, expression: str, session: str | None = None) -> Any:
        """Return the value of an expression, awaited if it is a promise; of a frame if its session is given."""
        found = self.send("Runtime.evaluate", session, expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Move the mouse and click."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key by its name, such as ArrowUp."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def wait(self, condition: str, session: str | None = None) -> Any:
        """Return the value of an expression as soon as it is true, looking once a frame; give up after many frames."""
        look = (
            "let frames = 0; const look = () => { const found = (CONDITION); if (found) resolve(found);"
            "else if (++frames > 1000) reject(new Error('never true')); else requestAnimationFrame(look); };"
        )
        promise = f"new Promise((resolve, reject) => {{ {look.replace('CONDITION', condition)} look(); }})"
        return self.evaluate(promise, session)

    def show(self, width: int, scheme: str = "light", media: str = "") -> None:
        """Take a width, a colour scheme and a medium for what is opened from now on."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def downloaded(self, folder: str, do: str) -> str:
        """Return the name of the file that an expression makes the page offer, once it lies in a folder."""
        self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=folder)
        self.events.clear()
        self.evaluate(do)
        while True:
            for event in self.events:
                if event.get("method") == "Page.downloadProgress" and event["params"]["state"] == "completed":
                    begun = [e for e in self.events if e.get("method") == "Page.downloadWillBegin"]
                    return str(begun[-1]["params"]["suggestedFilename"])
            self.events.append(self._receive())

    def open_frame(self, url: str) -> str:
        """Go to a page and return the session of the frame in it, which `evaluate` takes."""
        self.send("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        self.open(url)
        attached = [event["params"] for event in self.events if event.get("method") == "Target.attachedToTarget"]
        return str(attached[-1]["sessionId"])

    def complaints(self) -> list[str]:
        """Return exceptions and errors that the page logged."""
        found = []
        for event in self.events:
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
            if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(event["params"]["entry"]["text"])
            if event.get("method") == "Runtime.consoleAPICalled" and event["params"]["type"] == "error":
                found.append(str(event["params"]["args"]))
        return found

    def requests(self) -> list[str]:
        """Return the addresses that the page asked for."""
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]
