"""The page of `facedex serve`, driven by a browser: what a user does with it, and what it must never do."""

import base64
import contextlib
import io
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageFilter

pytest.importorskip("playwright", reason="needs playwright, which is in the extra dev")
pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python, which is in the extra dev")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

import tests.test_review as made_up
from facedex.library.groups import cluster
from tests.helpers import drawn_face, save_face
from tests.servers import jpeg, over_socket
from tests.test_review import ADA, ODD

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PAGE = Path(__file__).parents[1] / "facedex" / "server" / "page"
expect.set_options(timeout=20_000)  # milliseconds: the machine may be busy with other tests
MARKUP = "<script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">"


@pytest.fixture(scope="module")
def chromium():
    """A browser without network beyond this machine."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium on the path")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield opened
        opened.close()


class Visit:
    """A page of a server, and everything that went wrong on it."""

    def __init__(self, page, base):
        self.page, self.base, self.faults, self.requests = page, base, [], []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._listen)
        page.on("request", lambda request: self.requests.append(request.url))
        page.set_default_timeout(20_000)

    def _listen(self, message):
        if "Content Security Policy" in message.text or "Refused to" in message.text:
            self.faults.append(message.text)

    def go(self, view):
        """Open a view, such as #/people."""
        self.page.goto(f"{self.base}/{view}")
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()
        return self.page

    def drop(self, *files):
        """Drop files (name, bytes) onto the page."""
        self.give("drop", *files)

    def give(self, how, *files):
        """Drop files (name, bytes) onto the page, or paste them."""
        self.page.evaluate(
            """([how, files]) => {
              const data = new DataTransfer();
              const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
              for (const [name, text] of files) data.items.add(new File([bytes(text)], name));
              const options = {bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data};
              document.body.dispatchEvent(new (how === "drop" ? DragEvent : ClipboardEvent)(how, options));
            }""",
            [how, [[name, base64.b64encode(data).decode()] for name, data in files]],
        )

    def settled(self, photos):
        """Wait until so many photos are looked at."""
        expect(self.page.locator(".photo[aria-busy=false]")).to_have_count(photos)
        expect(self.page.locator(".photo-bar .state")).not_to_contain_text("Looking")

    def name(self, photo, who):
        """Give the first face of a photo a name."""
        self.card(photo).locator(".face").first.click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("combobox").fill(who)
        dialog.get_by_role("button", name="Give this name").click()
        expect(dialog).to_have_count(0)

    def card(self, photo):
        """The card of a photo by its file name."""
        return self.page.locator(".photo").filter(has=self.page.get_by_role("heading", name=photo, exact=True))

    def names(self, photo):
        """What the faces of a photo are called."""
        return self.card(photo).locator(".face .name")


@contextlib.contextmanager
def visit(chromium, folder, scheme="light", width=1280, **changes):
    """A fresh page of a server of a gallery. At the end, nothing has gone wrong and no request has left the server."""
    with over_socket(folder, **changes) as server:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        made = Visit(context.new_page(), str(server.base_url).rstrip("/"))
        made.server = server
        try:
            yield made
            assert made.faults == []
            own = urlsplit(made.base)[:2]
            assert [url for url in made.requests if urlsplit(url)[:2] != own and not url.startswith("blob:")] == []
            assert len(made.requests) > 3
        finally:
            context.close()


def photo(*seeds):
    return f"{'-'.join(map(str, seeds))}.jpg", jpeg(*seeds)


def smaller(path):
    """The bytes of a photo with at most 640 pixels a side, as JPEG."""
    file = io.BytesIO()
    with Image.open(path) as image:
        image.thumbnail((640, 640))
        image.convert("RGB").save(file, "JPEG", quality=92)
    return file.getvalue()


def faults(page):
    """What axe finds of serious or critical faults."""
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], one["nodes"][0]["target"], one["nodes"][0]["html"])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.slow
def test_the_whole_job_from_a_dropped_photo_to_a_restarted_server(chromium, portraits, tmp_path):
    files = [(name, smaller(portraits / name)) for name in ("obama.jpg", "obama2.jpg", "biden.jpg")]
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/photos")
        seen.drop(*files)
        seen.settled(3)
        assert seen.names("obama.jpg").all_text_contents() == ["Unknown"]
        seen.name("obama.jpg", "Barack")
        expect(seen.names("obama2.jpg").first).to_have_text("Barack")
        expect(seen.names("biden.jpg").first).to_have_text("Unknown")
        expect(seen.card("obama2.jpg").locator(".box.named")).to_contain_text("Barack")
        seen.name("biden.jpg", "Joe")
        expect(seen.names("biden.jpg").first).to_have_text("Joe")

        page.get_by_role("link", name="People").click()
        page.locator(".person", has_text="Barack").click()
        page.get_by_label("Name", exact=True).fill("Barack Obama")
        page.get_by_role("button", name="Rename").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Barack Obama")
        page.get_by_role("link", name="Photos", exact=True).click()
        expect(seen.names("obama2.jpg").first).to_have_text("Barack Obama")

        page.locator("#undo").click()
        expect(seen.names("obama2.jpg").first).to_have_text("Barack")
        page.keyboard.press("Control+z")  # Joe
        expect(seen.names("biden.jpg").first).to_have_text("Unknown")
        seen.name("biden.jpg", "Joe")
        expect(seen.names("biden.jpg").first).to_have_text("Joe")

        page.get_by_role("link", name="People").click()
        page.locator(".person", has_text="Joe").click()
        page.get_by_label("Merge into").fill("Barack")
        page.get_by_role("button", name="Merge").click()
        page.get_by_role("dialog").get_by_role("button", name="Merge").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Barack")
        expect(page.locator("main")).to_contain_text("2 enrolled photos")
        page.locator("#undo").click()
        expect(page.locator("main")).to_contain_text("1 enrolled photo ")
        page.get_by_role("link", name="People").first.click()
        page.locator(".person", has_text="Joe").click()
        page.get_by_label("Merge into").fill("Barack")
        page.get_by_role("button", name="Merge").click()
        page.get_by_role("dialog").get_by_role("button", name="Merge").click()
        expect(page.locator("main")).to_contain_text("2 enrolled photos")
        expect(page.locator(".warning")).to_have_text("1 photo may show somebody else.")
        expect(page.locator(".doubtful")).to_contain_text("may show somebody else")
        page.locator(".doubtful").get_by_role("button", name=re.compile("Remove the photo")).click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.locator("main")).to_contain_text("1 enrolled photo ")
        assert faults(page) == []
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/people")
        expect(page.locator(".person .name")).to_have_text(["Barack"])
        page.locator(".person").click()
        page.get_by_role("button", name="Remove Barack").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Remove Barack").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.locator("main")).to_contain_text("Nobody is enrolled yet")
        assert seen.server.get("/v1/people").json()["total"] == 0


def test_a_name_is_text_and_never_markup(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/photos")
        seen.drop(photo(0), ("<b>x</b>.jpg", jpeg(0, 1)))
        seen.settled(2)
        seen.name("0.jpg", MARKUP)
        expect(seen.names("0.jpg").first).to_have_text(MARKUP)
        expect(page.locator(".notice")).to_contain_text(MARKUP)
        seen.card("0.jpg").locator(".face").click()
        expect(page.get_by_role("dialog").locator("h2")).to_have_text(MARKUP)
        page.keyboard.press("Escape")
        page.get_by_role("link", name="People").click()
        expect(page.locator(".person .name")).to_have_text(MARKUP)
        page.locator(".person").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(MARKUP)
        assert page.locator("main script, main b").count() == 0
        assert "stolen" not in page.title() or MARKUP in page.title()


def test_every_face_of_a_photo_is_named_by_its_own_number(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/photos")
        seen.drop(photo(0, 1), photo(0), photo(1))
        seen.settled(3)
        faces = seen.card("0-1.jpg").locator(".face")
        count = faces.count()
        assert count == 2
        for number, who in enumerate(("First", "Second")):
            faces.nth(number).click()
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text(f"Face {number + 1} of 2")
            dialog.get_by_role("combobox").fill(who)
            dialog.get_by_role("button", name="Give this name").click()
            expect(faces.nth(number).locator(".name")).to_have_text(who)
        boxes = seen.card("0-1.jpg").locator(".box")
        lefts = [boxes.nth(number).bounding_box()["x"] for number in range(2)]
        first = "0.jpg" if lefts[0] < lefts[1] else "1.jpg"
        expect(seen.names(first).first).to_have_text("First")


def test_a_turned_photo_has_its_box_on_the_face(chromium, tmp_path):
    upright = Image.fromarray(drawn_face(3, 240)).crop((0, 0, 240, 240))
    wide = Image.new("RGB", (480, 240), (120, 130, 140))
    wide.paste(upright, (240, 0))
    file, exif = io.BytesIO(), Image.Exif()
    exif[274] = 6  # the camera was turned by a quarter
    wide.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    with visit(chromium, tmp_path / "g") as seen:
        seen.go("#/photos")
        seen.drop(("turned.jpg", file.getvalue()))
        seen.settled(1)
        image = seen.card("turned.jpg").locator("img").bounding_box()
        assert image["width"] == pytest.approx(2 * image["height"], rel=0.02)
        box = seen.card("turned.jpg").locator(".box").bounding_box()
        middle = (box["x"] + box["width"] / 2 - image["x"]) / image["width"]
        assert 0.6 < middle < 0.9


def test_what_is_no_photo_is_refused_in_words_and_stops_no_other(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/photos")
        seen.drop(("notes.txt", b"hello"), ("broken.jpg", b"\xff\xd8\xff\xe0 no picture"), photo(0))
        seen.settled(2)
        expect(page.locator(".notice.fault")).to_contain_text("1 file is no photo: notes.txt")
        expect(seen.card("broken.jpg").locator(".state")).to_contain_text("broken.jpg is broken")
        expect(seen.names("0.jpg").first).to_have_text("Unknown")


def test_the_slider_shows_its_threshold_and_what_it_changes(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/photos")
        seen.drop(photo(0))
        seen.settled(1)
        slider = page.get_by_role("slider")
        expect(page.locator(".meaning")).to_contain_text("Nobody is enrolled")
        seen.name("0.jpg", "Ada")
        expect(page.locator(".meaning")).to_contain_text("among 1 person")
        before = page.locator(".meaning").text_content()
        slider.focus()
        slider.press("Home")
        expect(page.locator(".meaning")).to_contain_text("1 in 10,000 strangers")
        assert slider.get_attribute("aria-valuetext") == "1 in 10,000 strangers may get a name"
        score = re.compile(r"score of (-?[\d.]+)")
        strict = page.locator(".meaning").text_content()
        assert float(score.search(strict)[1]) > float(score.search(before)[1])
        asked = seen.server.get("/v1/threshold?fpir=0.0001").json()["threshold"]
        assert f"{asked:.2f}" == score.search(strict)[1]
        assert any("fpir=0.0001" in url and "/identify" in url for url in wait_for_identify(seen))


def test_a_looser_slider_tells_which_names_it_adds(chromium, portraits, tmp_path):
    blurred = io.BytesIO()
    with Image.open(portraits / "obama.jpg") as image:
        image.thumbnail((320, 320))
        image.filter(ImageFilter.GaussianBlur(4)).save(blurred, "JPEG", quality=92)
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/photos")
        seen.drop(("clear.jpg", smaller(portraits / "obama.jpg")), ("blurred.jpg", blurred.getvalue()))
        seen.settled(2)
        seen.name("clear.jpg", "Barack")
        expect(seen.names("clear.jpg").first).to_have_text("Barack")  # photos are looked at again after the change
        seen.settled(2)
        slider = page.get_by_role("slider")
        slider.focus()
        with page.expect_response(lambda answer: "fpir=0.0001" in answer.url and "/identify" in answer.url):
            slider.press("Home")
        seen.settled(2)
        expect(page.locator(".meaning")).to_contain_text("1 in 10,000")
        expect(seen.names("blurred.jpg").first).to_have_text("Unknown")
        slider.press("End")
        expect(seen.names("blurred.jpg").first).to_have_text("Barack")
        expect(page.locator(".effect")).to_have_text("1 name changed:blurred.jpg, face 1: unknown → Barack")


def test_a_wrong_name_is_corrected_and_the_correction_undone(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        seen.go("#/photos")
        seen.drop(photo(0))
        seen.settled(1)
        for name in ("Ada", "Bea"):
            seen.name("0.jpg", name)
            expect(seen.names("0.jpg").first).to_have_text(name)
        expect(seen.page.locator(".notice").last).to_contain_text("This face is Bea now, and Ada no longer.")
        assert [one["name"] for one in seen.server.get("/v1/people").json()["people"]] == ["Bea"]
        seen.page.locator("#undo").click()
        expect(seen.names("0.jpg").first).to_have_text("Ada")
        assert [one["name"] for one in seen.server.get("/v1/people").json()["people"]] == ["Ada"]


def test_whoever_presses_twice_means_once(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/photos")
        seen.drop(photo(0))
        seen.settled(1)
        sent = photos_sent(seen)
        seen.card("0.jpg").locator(".face").click()
        page.get_by_role("dialog").get_by_role("combobox").fill("Ada")
        page.get_by_role("button", name="Give this name").dblclick()
        expect(seen.names("0.jpg").first).to_have_text("Ada")
        assert sent == ["/v1/people"]


def test_names_that_are_long_or_written_from_the_right_leave_the_page_whole(chromium, tmp_path):
    turned, long = "\u0645\u062d\u0645\u062f \u202e abc", "\U0001f600" + "Averyveryverylongname" * 40
    with visit(chromium, tmp_path / "g", width=360) as seen:
        page = seen.go("#/photos")
        seen.drop(photo(0), photo(7))
        seen.settled(2)
        seen.name("0.jpg", turned)
        said = f"\u2068{turned}\u2069 is enrolled by this face."  # isolated, so that the words after it are not turned
        expect(page.locator(".notice p").last).to_have_text(said)
        seen.settled(2)
        seen.name("7.jpg", long)
        expect(seen.names("7.jpg").first).to_have_text(long)
        undo = page.locator("#undo")
        expect(undo).to_contain_text("Undo: ")
        first = "(key) => { const range = document.createRange(); range.setStart(key.firstChild, 0); "
        first += "range.setEnd(key.firstChild, 1); return range.getBoundingClientRect().left; }"
        assert undo.evaluate(first) > undo.bounding_box()["x"]  # its first letter is not cut off
        assert seen.names("7.jpg").first.bounding_box()["height"] < 120
        seen.card("0.jpg").locator(".face").click()
        pictures = page.get_by_role("dialog").locator(".candidate img")  # one of them is asked for by the long name
        expect(pictures).to_have_count(2)
        page.keyboard.press("Escape")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def photos_sent(seen):
    """A list that grows by the path of each request that brings photos to the server."""
    sent = []
    is_form = re.compile("multipart/").match
    seen.page.on(
        "request", lambda one: is_form(one.headers.get("content-type", "")) and sent.append(urlsplit(one.url).path)
    )
    return sent


def test_a_name_and_the_slider_send_no_photo_again(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        seen.go("#/photos")
        seen.drop(photo(0), photo(0, 1), photo(7), ("broken.jpg", b"\xff\xd8\xff\xe0 no picture"))
        seen.settled(4)
        sent = photos_sent(seen)
        seen.name("0.jpg", "Ada")
        expect(seen.names("0.jpg").first).to_have_text("Ada")
        slider = seen.page.get_by_role("slider")
        with seen.page.expect_response(lambda answer: "fpir=0.0001" in answer.url and "/identify" in answer.url):
            slider.press("Home")
        seen.settled(4)
        assert sent == ["/v1/people"]


def test_photos_that_the_server_has_forgotten_are_sent_again(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        seen.go("#/photos")
        seen.drop(photo(0), photo(7))
        seen.settled(2)
        sent = photos_sent(seen)
        seen.server.guard.service.recent.__init__()  # as after a restart
        seen.name("0.jpg", "Ada")
        expect(seen.names("0.jpg").first).to_have_text("Ada")
        expect(seen.names("7.jpg").first).to_be_visible()
        seen.settled(2)
        assert sent == ["/v1/people", "/v1/identify", "/v1/identify"]


def test_a_photo_that_the_browser_cannot_draw_is_shown_with_its_boxes(chromium, tmp_path):
    wide = Image.new("RGB", (2400, 1200), (120, 130, 140))
    wide.paste(Image.fromarray(drawn_face(3, 1000)), (1300, 100))
    large, empty = io.BytesIO(), io.BytesIO()
    wide.save(large, "TIFF", compression="tiff_deflate")
    Image.new("RGB", (300, 200)).save(empty, "TIFF", compression="tiff_deflate")
    with visit(chromium, tmp_path / "g") as seen:
        seen.go("#/photos")
        seen.drop(("large.tif", large.getvalue()), ("empty.tif", empty.getvalue()))
        seen.settled(2)
        for name, width in (("large.tif", 1600), ("empty.tif", 300)):
            image = seen.card(name).locator("img")
            image.scroll_into_view_if_needed()
            expect(image).to_have_js_property("naturalWidth", width)
        expect(seen.card("large.tif").locator(".box")).to_be_visible()
        image, box = (seen.card("large.tif").locator(one).bounding_box() for one in ("img", ".box"))
        middle = [(box[a] + box[b] / 2 - image[a]) / image[b] for a, b in (("x", "width"), ("y", "height"))]
        assert middle == pytest.approx([0.75, 0.5], abs=0.1)
        drawn = "(canvas) => canvas.getContext('2d').getImageData(0, 0, 112, 112).data.some((value) => value > 0)"
        assert seen.card("large.tif").locator(".face canvas").evaluate(drawn)  # a picture, and no empty frame
        seen.name("large.tif", "Ada")
        expect(seen.names("large.tif").first).to_have_text("Ada")


def test_a_photo_that_was_changed_on_disk_is_said_to_be(chromium, tmp_path):
    file = tmp_path / "photo.jpg"
    file.write_bytes(jpeg(0))
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/photos")
        page.locator("input[type=file]").first.set_input_files(file)
        seen.settled(1)
        file.write_bytes(jpeg(1))
        os.utime(file, (2e9, 2e9))  # Chromium may compare times in whole seconds
        seen.card("photo.jpg").locator(".face").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("combobox").fill("Ada")
        dialog.get_by_role("button", name="Give this name").click()
        expect(dialog.get_by_role("alert")).to_have_text(
            "photo.jpg was changed or moved since it was chosen; add it again."
        )


def test_pasted_photos_are_taken(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        seen.go("#/people")
        seen.give("paste", photo(0))
        seen.settled(1)
        expect(seen.page.get_by_role("heading", level=1)).to_have_text("Who is in these photos?")


def wait_for_identify(seen):
    seen.settled(1)
    seen.page.wait_for_timeout(500)
    return seen.requests


def test_the_keyboard_alone_names_a_face(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/photos")
        seen.drop(photo(0))
        seen.settled(1)
        seen.card("0.jpg").locator(".face").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").get_by_role("combobox")).to_be_focused()
        page.keyboard.type("Ada")
        page.keyboard.press("Enter")
        expect(seen.names("0.jpg").first).to_have_text("Ada")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.locator(".photo .face").first).to_be_focused()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder of photos of two drawn people."""
    folder = tmp_path_factory.mktemp("library")
    for person in (0, 1):
        for number in range(3):
            save_face(folder / f"{person}-{number}.jpg", person, side=240 + 8 * number)
    return folder


def grouped(seen):
    """Scan and group the library; returns the page that shows its one group, since drawn people resemble each other."""
    page = seen.go("#/library")
    expect(page.locator("main")).to_contain_text("Nothing is scanned yet")
    page.get_by_role("button", name="Scan the folders").click()
    expect(page.locator(".scan .state")).to_contain_text("The scan is done: 6 photos")
    page.get_by_role("button", name="Group the faces").click()
    expect(page.locator(".group")).to_have_count(1)
    return page


def test_a_scanned_library_is_grouped_named_and_undone(chromium, library, tmp_path):
    with visit(chromium, tmp_path / "g", folders=(library,)) as seen:
        page = grouped(seen)
        page.locator(".group-faces").click()
        expect(page.locator(".shot")).to_have_count(6)
        for box in page.get_by_role("checkbox", name=re.compile("face in 1-")).all():
            box.check()
        expect(page.locator(".sticky .state")).to_have_text("3 faces chosen.")
        seen.server.post("/v1/people", data={"name": "Bob"}, files=[("photo", photo(7))])
        page.wait_for_timeout(1500)  # what happens elsewhere draws the view anew, and the choice stays
        expect(page.locator(".sticky .state")).to_have_text("3 faces chosen.")
        assert page.locator(":checked").count() == 3
        page.get_by_role("button", name="Another person").click()
        expect(page.locator(".shot")).to_have_count(3)
        page.get_by_role("link", name="Library", exact=True).click()
        expect(page.locator(".group")).to_have_count(2)

        page.get_by_role("combobox", name=re.compile("Name of group")).first.fill("Ada")
        page.keyboard.press("Enter")
        expect(page.locator(".group")).to_have_count(1)
        expect(page.locator(".notice").last).to_contain_text("3 faces")

        page.get_by_role("link", name="People").click()
        page.locator(".person", has_text="Ada").click()
        expect(page.get_by_role("heading", name="Photos of the library")).to_be_visible()
        shots = page.locator("button.shot")
        expect(shots).to_have_count(3)
        shots.first.click()
        whole = page.get_by_role("dialog").locator("img")
        expect(whole).to_be_visible()
        assert whole.evaluate("(image) => image.decode().then(() => image.naturalWidth)") >= 240
        page.keyboard.press("Escape")

        page.get_by_role("link", name="Library").click()
        page.get_by_role("button", name=re.compile("Ignore group")).click()
        expect(page.locator(".group")).to_have_count(0)
        page.locator("#undo").click()
        expect(page.locator(".group")).to_have_count(1)
        page.locator("#undo").click()
        expect(page.locator(".group")).to_have_count(2)
        page.locator("#undo").click()  # the split
        expect(page.locator(".group")).to_have_count(1)
        expect(page.locator("#undo")).to_be_disabled()
        assert seen.server.get("/v1/undo").json()["change"] is None


def test_groups_are_joined_and_what_is_no_face_is_left_out(chromium, library, tmp_path):
    with visit(chromium, tmp_path / "g", folders=(library,)) as seen:
        page = grouped(seen)
        page.locator(".group-faces").click()
        expect(page.locator(".shot")).to_have_count(6)
        for box in page.get_by_role("checkbox", name=re.compile("face in 1-")).all():
            box.check()
        page.get_by_role("button", name="Another person").click()
        expect(page.locator(".shot")).to_have_count(3)
        page.get_by_role("checkbox").first.check()
        page.get_by_role("button", name="Not a face").click()
        expect(page.locator(".shot")).to_have_count(2)
        other = max(one["group"] for one in seen.server.get("/v1/groups").json()["groups"])
        page.get_by_label("Same person as group").fill(str(other))
        page.get_by_role("button", name="Join").click()
        expect(page.locator(".group")).to_have_count(1)
        expect(page.locator(".group")).to_contain_text("5 faces")
        page.locator("#undo").click()
        expect(page.locator(".group")).to_have_count(2)
        page.locator("#undo").click()
        expect(page.locator(".group", has_text="3 faces")).to_have_count(2)


def test_questions_are_answered_by_keys_and_taken_back(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        gallery = seen.server.guard.service.gallery
        with gallery.changing_library() as store:
            store.library.save([*made_up.photos(ADA, 8, "ada"), *made_up.photos(ODD, 4, "odd"), *made_up.strangers()])
        cluster(gallery)
        page = seen.go("#/library")
        page.get_by_role("link", name="Answer questions").click()
        expect(page.locator(".question .lead")).to_have_text("Do both show one person?")
        expect(page.locator(".question")).to_contain_text("A yes concerns 4 faces.")
        expect(page.locator(".pair figure")).to_have_count(2)
        assert faults(page) == []
        page.keyboard.press("n")
        expect(page.locator(".notice").last).to_contain_text("No, two people.")
        expect(page.locator(".question .lead")).to_have_text("No question is open.")
        assert seen.server.get("/v1/changes").json()["changes"][0]["kind"] == "apart"
        page.keyboard.press("u")
        expect(page.locator(".question .lead")).to_have_text("Do both show one person?")
        page.keyboard.press("y")
        expect(page.locator(".question .lead")).to_have_text("No question is open.")
        page.get_by_role("link", name="Library", exact=True).click()
        expect(page.locator(".group").first).to_contain_text("12 faces")
        seen.server.post("/v1/undo")
        expect(page.locator(".group").first).to_contain_text("8 faces")
        page.get_by_role("link", name="Answer questions").click()
        expect(page.locator(".question .lead")).to_have_text("Do both show one person?")
        page.keyboard.press("s")  # a skipped question does not come again
        expect(page.locator(".question .lead")).to_have_text("No question is open.")


def test_a_consent_is_kept_shown_and_taken_back(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        page = seen.go("#/people")
        page.get_by_role("button", name="Add a person").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("Ada")
        name, data = photo(0)
        dialog.get_by_label("Photos").set_input_files([{"name": name, "mimeType": "image/jpeg", "buffer": data}])
        dialog.get_by_text("Consent").first.click()
        dialog.get_by_label("Consent").fill("by letter")
        dialog.get_by_role("button", name="Enroll").click()
        expect(dialog).to_have_count(0)
        page.locator(".person").click()
        expect(page.locator(".person-head")).to_contain_text("Consent: by letter.")
        page.get_by_label("Valid until").fill("2999-06-30")
        page.get_by_role("button", name="Save the consent").click()
        expect(page.locator(".person-head")).to_contain_text("Valid until 30 June 2999.")
        page.locator("#undo").click()
        expect(page.locator(".person-head")).not_to_contain_text("2999")
        seen.go("#/gallery")
        expect(page.locator(".log")).to_contain_text("enrolled, Ada")


def test_two_pages_follow_each_other(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        seen.go("#/photos")
        seen.drop(photo(0))
        seen.settled(1)
        answer = seen.server.post("/v1/people", data={"name": "Ada"}, files=[("photo", photo(0))])
        assert answer.status_code == 201
        expect(seen.names("0.jpg").first).to_have_text("Ada")


def test_a_token_is_asked_for_and_a_reading_one_changes_nothing(chromium, tmp_path):
    full, read = "full-token-of-a-test", "read-token-of-a-test"
    with visit(chromium, tmp_path / "g", token=full, read_token=read) as seen:
        page = seen.go("#/photos")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        assert faults(page) == []
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("no token of this server")
        page.get_by_label("Token").fill(read)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Who is in these photos?")
        seen.drop(photo(0))
        seen.settled(1)
        seen.card("0.jpg").locator(".face").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert page.get_by_role("dialog").get_by_role("combobox").count() == 0
        page.keyboard.press("Escape")
        seen.go("#/gallery")
        expect(page.locator("main")).to_contain_text("may only read")
        assert page.get_by_role("link", name="Download a backup").count() == 0


def test_the_gallery_tells_its_condition_and_gives_a_backup(chromium, tmp_path):
    with visit(chromium, tmp_path / "g") as seen:
        seen.server.post("/v1/people", data={"name": "Ada"}, files=[("photo", photo(0))])
        page = seen.go("#/gallery")
        expect(page.locator(".facts")).to_contain_text("1 person, 1 face")
        expect(page.locator(".facts")).to_contain_text("fast, 128 numbers a face")
        page.get_by_role("button", name="Check the gallery").click()
        expect(page.locator(".finding.sound").first).to_be_visible()
        expect(page.locator(".finding.broken")).to_have_count(0)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download a backup").click()
        assert download.value.suggested_filename == "gallery.tar"
        assert Path(download.value.path()).stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_page(chromium, library, tmp_path, scheme, width):
    with visit(chromium, tmp_path / "g", scheme, width, folders=(library,)) as seen:
        page = seen.go("#/photos")

        def sound():
            assert faults(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

        for view in ("#/photos", "#/people", "#/library", "#/gallery"):  # as a beginner sees them
            seen.go(view)
            sound()
        seen.go("#/library")
        page.get_by_role("button", name="Scan the folders").click()
        expect(page.locator(".scan .state")).to_contain_text("The scan is done")
        page.get_by_role("button", name="Group the faces").click()
        expect(page.locator(".group")).to_have_count(1)
        sound()
        page.locator(".group-faces").click()
        expect(page.locator(".shot")).to_have_count(6)
        sound()
        seen.go("#/photos")
        seen.drop(photo(0, 1), ("a-very-long-name-without-any-space-in-it-" * 4 + ".jpg", jpeg(2)))
        seen.settled(2)
        seen.name("0-1.jpg", "Ada " + "Averyveryverylongname" * 5)
        seen.settled(2)
        sound()
        seen.card("0-1.jpg").locator(".face").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        sound()
        page.keyboard.press("Escape")
        seen.go("#/people")
        sound()
        page.locator(".person").first.click()
        expect(page.get_by_role("button", name="Rename")).to_be_visible()
        sound()


def test_modules_are_sound_javascript():
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, to check the syntax of JavaScript")
    modules = sorted(PAGE.glob("*.mjs"))
    assert modules
    for module in modules:
        subprocess.run([node, "--check", module], check=True)


def test_the_readme_lists_every_file_of_the_page():
    rows = re.findall(r"^\| (`.+?`) \|", (PAGE / "README.md").read_text("utf-8"), re.M)
    listed = {name for row in rows for name in re.findall(r"`(.+?)`", row)}
    assert listed == {file.name for file in PAGE.iterdir()} - {"README.md"}


def test_the_page_needs_nothing_from_outside_and_no_markup_is_made_of_text():
    for file in PAGE.iterdir():
        text = file.read_text("utf-8")
        if file.suffix in (".mjs", ".css", ".html"):
            assert not re.search(r"https?://|@import|(inner|outer|Adjacent)HTML|document\.write", text), file
            assert not re.search(r"\sstyle=|\son\w+=|eval\(", text), file
