"""The slice scroller in a browser: keys, mouse and controls change the picture, and nothing leaves the machine."""

import numpy as np
import pytest

from organseg import ORGANS, show_volume

SHAPE, SPACING = (24, 20, 16), (2.0, 2.0, 4.0)
PIXELS = """canvas => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    return [...copy.getImageData(0, 0, canvas.width, canvas.height).data];
}"""


def page_of(scroller):
    return scroller._repr_mimebundle_()["text/html"]


def volume():
    """Slices that all differ; a liver at the right, front and head, bone at the left."""
    x, y, z = np.indices(SHAPE)
    image = -100 + 10.0 * z + 2 * x
    image[:4] = 900
    image[:, :, :3] = -1000
    label = np.zeros(SHAPE, np.uint8)
    label[16:, 12:, 10:] = 3
    return image, label


@pytest.fixture
def page(browser, tmp_path):
    """A dark page with the volume twice, once without labels; afterwards: no error, and nothing was fetched."""
    image, label = volume()
    scrollers = [show_volume(image, label, SPACING), show_volume(image, spacing=SPACING, plane="coronal")]
    body = "<p>before</p>".join(page_of(scroller) for scroller in scrollers)
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body style='background: #111'>{body}", encoding="utf-8")
    opened = browser.new_page(viewport={"width": 800, "height": 600})
    problems, addresses = [], []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: addresses.append(request.url))
    opened.goto(file.as_uri())
    opened.wait_for_function("""() => [...document.querySelectorAll('.organseg-scroller')].every(
        root => root.shadowRoot && root.shadowRoot.querySelector('output').textContent)""")
    yield opened
    assert problems == []
    assert {address.split(":")[0] for address in addresses} <= {"file", "data"}
    opened.close()


class Shown:
    """One scroller of the page, as a user meets it."""

    def __init__(self, page, number=0):
        self.root = page.locator(".organseg-scroller").nth(number)
        self.canvas = self.root.locator("canvas")

    def part(self, selector):
        return self.root.locator(selector)

    @property
    def pixels(self):
        flat = np.array(self.canvas.evaluate(PIXELS), np.uint8)
        width, height = (int(self.canvas.get_attribute(edge)) for edge in ("width", "height"))
        return flat.reshape(height, width, 4)[..., :3].astype(int)

    @property
    def words(self):
        return self.part("output").inner_text()

    def slide(self, selector, value):
        self.part(selector).evaluate(
            "(input, to) => { input.value = to; input.dispatchEvent(new Event('input')); }", value
        )


def expected(z, window=(-160, 240), opacity=0.4):
    """The axial picture, computed here; exact but for the steps to which HU are rounded."""
    image, label = volume()
    grey = (np.clip(image[:, :, z], *window) - window[0]) / (window[1] - window[0]) * 255
    colour = np.array([int(ORGANS[2].colour[at : at + 2], 16) for at in (1, 3, 5)])
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    organ = label[:, :, z] == 3
    rgb[organ] = (1 - opacity) * rgb[organ] + opacity * colour
    return rgb[::-1, ::-1].swapaxes(0, 1)


def tolerance(window=(-160, 240)):
    return 4 / (window[1] - window[0]) * 255 + 1  # half a step of 8 HU


def test_the_picture_is_the_slice(page):
    shown = Shown(page)
    assert shown.words == "axial slice 11 of 16, z = 40 mm"
    assert np.abs(shown.pixels - expected(10)).max() <= tolerance()
    assert [shown.part(f".frame .{side}").inner_text() for side in ("left", "right", "above", "below")] == list("RLAP")
    box = shown.canvas.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(48 / 40, rel=0.01)


def test_keys_move_the_slices(page):
    shown = Shown(page)
    shown.canvas.focus()
    for key, number in [("ArrowUp", 12), ("ArrowDown", 11), ("ArrowLeft", 10), ("ArrowRight", 11), ("End", 16)] + [
        ("PageDown", 6),
        ("Home", 1),
        ("PageDown", 1),
        ("PageUp", 11),
    ]:
        page.keyboard.press(key)
        assert shown.words.startswith(f"axial slice {number} of 16")
        assert np.abs(shown.pixels - expected(number - 1)).max() <= tolerance()
    shown.part(".slice").focus()
    page.keyboard.press("ArrowRight")
    assert shown.words == "axial slice 12 of 16, z = 44 mm"
    assert shown.part(".slice").get_attribute("aria-valuetext") == shown.words


def test_planes_have_their_own_slices_marks_and_proportions(page):
    shown = Shown(page)
    shown.part("text=sagittal").click()
    assert shown.words.startswith("sagittal slice 17 of 24, x = 32 mm") and shown.pixels.shape == (16, 20, 3)
    assert [shown.part(f".frame .{side}").inner_text() for side in ("left", "right", "above", "below")] == list("APHF")
    box = shown.canvas.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(40 / 64, rel=0.01)
    image, _ = volume()
    shown.slide(".opacity", 0)
    grey = (np.clip(image[16], -160, 240) + 160) / 400 * 255
    assert np.abs(shown.pixels[..., 0] - grey[::-1, ::-1].T).max() <= tolerance()
    shown.part("text=coronal").click()
    assert shown.words.startswith("coronal slice 13 of 20, y = 24 mm") and shown.pixels.shape == (16, 24, 3)
    shown.part("text=axial").first.click()
    assert shown.words.startswith("axial slice 11 of 16")


def test_opacity_and_window_change_the_picture(page):
    shown = Shown(page)
    for percent in (0, 100):
        shown.slide(".opacity", percent)
        assert np.abs(shown.pixels - expected(10, opacity=percent / 100)).max() <= tolerance()
    seen = []
    for name, window in [("bone", (-450, 1050)), ("lung", (-1350, 150)), ("liver", (-20, 140))]:
        shown.part("select").select_option(name)
        seen.append(shown.pixels)
        soft = expected(10, window, 1)[:, :20]  # the bone's HU are rounded to larger steps
        assert np.abs(seen[-1][:, :20] - soft).max() <= tolerance(window)
    assert np.abs(seen[0] - seen[1]).max() > 50 < np.abs(seen[1] - seen[2]).max()


def test_organs_of_the_slice_are_named(page):
    shown = Shown(page)
    assert shown.part("li.here").all_inner_texts() == ["liver"]
    assert shown.canvas.get_attribute("aria-label") == "CT, axial slice 11 of 16, z = 40 mm; organs: liver"
    shown.slide(".slice", 2)
    assert shown.part("li.here").count() == 0 and shown.canvas.get_attribute("aria-label").endswith("organs: none")
    assert shown.part("output").get_attribute("aria-live") == "polite"
    unlabelled = Shown(page, 1)
    assert not unlabelled.part("ul").is_visible() and not unlabelled.part(".opacity").is_visible()


def test_the_mouse_moves_slices_only_where_it_is_meant_to(page):
    shown = Shown(page)
    box = shown.canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    assert shown.part(".cursor").inner_text() == "liver, 44 HU"  # -100 + 10 * 10 + 2 * 23, rounded to the step
    page.mouse.wheel(0, -100)
    assert shown.words.startswith("axial slice 11")  # the wheel belongs to the page until the picture is clicked
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] - 12)
    page.mouse.up()
    assert shown.words.startswith("axial slice 14")
    page.mouse.wheel(0, 100)
    page.wait_for_function(
        "() => document.querySelector('.organseg-scroller').shadowRoot"
        ".querySelector('output').textContent.startsWith('axial slice 13')"
    )


def test_a_finger_moves_slices_to_the_side_and_the_page_up(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(
        f"<!doctype html><meta charset=utf-8>{page_of(show_volume(*volume(), SPACING))}<p style='height: 2000px'>",
        encoding="utf-8",
    )
    context = browser.new_context(viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    opened = context.new_page()
    opened.goto(file.as_uri())
    opened.wait_for_selector(".organseg-scroller output:not(:empty)")
    shown, touch = Shown(opened), context.new_cdp_session(opened)
    box = shown.canvas.bounding_box()

    def swipe(right, down):
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for part in np.linspace(0, 1, 9)[1:]:
            points = [{"x": x + right * part, "y": y + down * part}]
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    swipe(-40, 2)
    assert opened.evaluate("scrollY") == 0 and shown.words.startswith("axial slice 1 of 16")
    assert shown.part(".finger").is_visible() and shown.part(".slice").bounding_box()["height"] >= 44
    swipe(2, -150)
    opened.wait_for_function("scrollY > 50")
    assert shown.words.startswith("axial slice 1 of 16")
    context.close()


def test_two_on_a_page_do_not_meet(page):
    first, second = Shown(page), Shown(page, 1)
    assert second.words.startswith("coronal slice 11 of 20")
    first.slide(".slice", 3)
    first.part("select").select_option("bone")
    assert second.words.startswith("coronal slice 11 of 20") and second.part("select").input_value() == "soft tissue"
    second.part("text=sagittal").click()
    assert first.words.startswith("axial slice 3")

    assert (
        page.evaluate("() => Object.keys(window).filter(name => /organseg|readSheet|^volume$|^PLANES$/i.test(name))")
        == []
    )


def test_without_scripts_a_still_picture_says_what_to_do(browser, tmp_path):
    image, label = volume()
    file = tmp_path / "still.html"
    file.write_text(
        "<!doctype html><meta charset=utf-8>" + page_of(show_volume(image, label)),
        encoding="utf-8",
    )
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(file.as_uri())
    assert opened.locator(".organseg-scroller img").is_visible()
    assert "trust the notebook" in opened.locator(".organseg-scroller").inner_text()
    context.close()
