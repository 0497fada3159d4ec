"""Headless Chromium through Debian's own chromedriver, with what the page asked for and complained about."""

import io
import json
import shutil
import time
import urllib.parse
from pathlib import Path

from PIL import Image, ImageChops
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin


class Browser:
    def __init__(self, folder, webgl=False):
        self.folder = Path(folder)
        options = webdriver.ChromeOptions()
        options.binary_location = self._program("chromium")
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--window-size=1024,768",
        ):
            options.add_argument(argument)
        if webgl:
            # Drawn by the processor: there is no graphics card.
            options.add_argument("--use-angle=swiftshader")
            options.add_argument("--enable-unsafe-swiftshader")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = Service(self._program("chromedriver"), log_output=str(self.folder / "chromedriver.log"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_page_load_timeout(60)
        self.requests, self.failures, self.complaints, self._open = [], [], [], {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.driver.quit()

    @staticmethod
    def _program(name):
        found = shutil.which(name)
        assert found, f"{name} is missing: run tests/e2e/setup"
        return found

    def forget(self, folder):
        """What was asked for and complained about so far; pictures go to this folder from now on."""
        self.folder = Path(folder)
        self.requests.clear()
        self.failures.clear()
        self.complaints.clear()

    def emulate(self, width=None, height=None, touch=False, scheme="light"):
        """Another screen: a telephone has two pixels for each of the page. Without a size, the window's own."""
        cdp = self.driver.execute_cdp_cmd
        if width:
            cdp(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 2 if touch else 1, "mobile": touch},
            )
        else:
            cdp("Emulation.clearDeviceMetricsOverride", {})
        cdp("Emulation.setTouchEmulationEnabled", {"enabled": touch})
        cdp("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def open(self, url):
        self.driver.get(url)
        self.settle()

    def settle(self, quiet=0.4, seconds=60):
        """Waits until no request has been open or begun for a while."""
        deadline = time.monotonic() + seconds
        last = time.monotonic()
        while time.monotonic() - last < quiet or self._open:
            if self._read_logs():
                last = time.monotonic()
            assert time.monotonic() < deadline, f"still loading after {seconds} s: {sorted(self._open.values())[:5]}"
            time.sleep(0.05)

    def _read_logs(self):
        news = False
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            kind, parameters = message["method"], message["params"]
            identifier = parameters.get("requestId")
            if kind == "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if urllib.parse.urlsplit(url).scheme in ("http", "https", "ws", "wss"):
                    self.requests.append(url)
                    self._open[identifier] = url
                    news = True
            elif kind == "Network.responseReceived":
                response = parameters["response"]
                if response["status"] >= 400:
                    self.failures.append((response["status"], response["url"]))
            elif kind == "Network.loadingFinished":
                news |= self._open.pop(identifier, None) is not None
            elif kind == "Network.loadingFailed":
                url = self._open.pop(identifier, None)
                news = True
                if url and not parameters.get("canceled"):
                    self.failures.append((parameters.get("errorText"), url))
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING"):
                self.complaints.append(entry["message"])
        return news

    def screenshot(self, name):
        """The page as it looks, kept as NAME.png."""
        body = self.driver.get_screenshot_as_png()
        (self.folder / f"{name}.png").write_bytes(body)
        return Image.open(io.BytesIO(body)).convert("RGB")

    def picture_of(self, selector):
        """An element as it looks, kept under a number."""
        body = self.driver.find_element("css selector", selector).screenshot_as_png
        number = len(list(self.folder.glob("picture-*.png")))
        (self.folder / f"picture-{number:02}.png").write_bytes(body)
        return Image.open(io.BytesIO(body)).convert("RGB")

    def drag_on(self, selector, right, down):
        """Drags the middle of an element."""
        x, y = self._middle_of(selector)
        actions = ActionChains(self.driver, duration=50)
        actions.w3c_actions.pointer_action.move_to_location(x, y)
        actions.click_and_hold()
        for step in range(1, 6):
            actions.w3c_actions.pointer_action.move_to_location(x + right * step // 5, y + down * step // 5)
        actions.release().perform()
        self.settle()

    def click(self, element):
        """Clicks a button or link, wherever it is on the page."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def wait_for(self, condition, seconds=10):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"in vain for {seconds} s"
            time.sleep(0.02)

    def click_on(self, selector, right=0, down=0):
        """Clicks so far from the middle of an element."""
        x, y = self._middle_of(selector)
        actions = ActionChains(self.driver, duration=50)
        actions.w3c_actions.pointer_action.move_to_location(x + right, y + down)
        actions.click().perform()
        self.settle()

    def wheel(self, selector, amount):
        """Turns the wheel over the middle of an element; up, that is inwards, below 0."""
        origin = ScrollOrigin.from_viewport(*self._middle_of(selector))
        ActionChains(self.driver).scroll_from_origin(origin, 0, amount).perform()
        self.settle()

    def pinch(self, selector, before, after):
        """Two fingers in the middle of an element go from one distance to another."""
        x, y = self._middle_of(selector)

        def touch(kind, distance=None):
            fingers = [] if distance is None else [x - distance / 2, x + distance / 2]
            points = [{"x": left, "y": y, "id": number} for number, left in enumerate(fingers)]
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", before)
        for step in range(1, 6):
            touch("touchMove", before + (after - before) * step / 5)
        touch("touchEnd")
        self.settle()

    def _middle_of(self, selector):
        element = self.driver.find_element("css selector", selector)
        box = self.driver.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'});"
            "const box = arguments[0].getBoundingClientRect(); return [box.x, box.y, box.width, box.height];",
            element,
        )
        return round(box[0] + box[2] / 2), round(box[1] + box[3] / 2)

    def links(self):
        """Addresses of all links on the page."""
        return [link.get_attribute("href") for link in self.driver.find_elements("css selector", "a[href]")]


def changed(one, other):
    """Part of the pixels that differ clearly between two screenshots."""
    difference = ImageChops.difference(one, other).convert("L").point(lambda value: 255 if value > 24 else 0)
    return difference.histogram()[255] / (one.width * one.height)


def share_of(image, colour, tolerance=30):
    """Part of the pixels that have this colour."""
    near = sum(
        count
        for count, found in image.getcolors(maxcolors=1 << 24)
        if all(abs(a - b) <= tolerance for a, b in zip(found, colour))
    )
    return near / (image.width * image.height)
