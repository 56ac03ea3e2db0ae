"""The page "Try it" in a real browser, served from the loopback: the same labels as Python's, and nothing else sent."""

import json
import re
import threading

import nibabel
import numpy as np
import pytest

import organseg
import serve
import try_it
from organseg.geometry import to_working

TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])


@pytest.fixture(scope="module")
def site(tmp_path_factory, npm_packages):
    """The page's HTML as it stands in book/try_it.md, with all that `make book` puts beside it."""
    folder = tmp_path_factory.mktemp("site")
    assert try_it.put(folder) == ""
    text = (try_it.ROOT / "book" / "try_it.md").read_text(encoding="utf-8")
    raw = re.search(r"```\{raw\} html\n(.*?)```", text, flags=re.DOTALL)[1]
    (folder / "book").mkdir()
    (folder / "book" / "try_it.html").write_text(f'<!doctype html><meta charset="utf-8">{raw}', encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def address(site):
    serving = serve.server(site)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()


@pytest.fixture
def page(browser, address):
    """The page, with all that it asked for in `page.asked`; what is not on this machine is out of reach."""
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.asked = []
    context.on("request", lambda request: page.asked.append(request.url))
    context.route("**/*", lambda route: route.continue_() if route.request.url.startswith(address) else route.abort())
    page.goto(f"{address}/book/try_it.html")
    page.wait_for_selector(".phantoms button:enabled")
    yield page
    context.close()


def status(page):
    return page.inner_text(".status")


def looked_at(page, file):
    """Give the page a file; returns what it says of it, once it may be run or is refused."""
    page.set_input_files(".file", str(file))
    page.wait_for_function("!document.querySelector('.status').textContent.startsWith('Looking')")
    return status(page)


def run(page):
    """Run the scan that was chosen; returns every line that the page said meanwhile."""
    page.evaluate("""() => {
      const line = document.querySelector(".status");
      window.said = [];
      new MutationObserver(() => said.push(line.textContent)).observe(line, { childList: true });
    }""")
    page.click(".run")
    page.wait_for_selector("[data-kind=done], [data-kind=failed]", timeout=400_000)
    return page.evaluate("said")


def saved(page, folder):
    with page.expect_download() as download:
        page.click(".save")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def phantom_file(folder, seed, affine_of):
    """A piece of a phantom whose file has other axes: `affine_of` gives voxels and affine from those of the phantom."""
    case = organseg.make_phantom(seed, (64, 64, 64))
    voxels, affine = affine_of(np.rint(case.image[10:46, 16:48, 22:52]).astype(np.int16), case.affine)
    path = folder / f"phantom_{seed}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def permuted(voxels, affine):
    """Axes in the order z, x, y, with x running to the left: what a sagittal series looks like."""
    columns = affine[:, [2, 0, 1, 3]] @ np.diag([1, -1, 1, 1])
    columns[:3, 3] += affine[:3, 0] * (voxels.shape[0] - 1)
    return voxels.transpose(2, 0, 1)[:, ::-1], columns


def oblique(voxels, affine):
    turned = affine.copy()
    turned[:3] = TURN @ affine[:3]
    return voxels, turned


def same_as_python(path, of):
    case = organseg.load_case(of)
    ours = nibabel.load(path)
    expected = organseg.predict(organseg.load_run(try_it.NETWORK), case, precision="float32")
    labels = np.asanyarray(ours.dataobj)
    assert labels.dtype == np.uint8 and labels.shape == case.image.shape and len(np.unique(labels)) > 3
    np.testing.assert_array_equal(ours.affine, nibabel.load(of).affine)
    assert np.mean(labels == expected) >= 0.999
    return labels


@pytest.mark.parametrize("number", range(3))
def test_a_phantom_of_the_page_gets_pythons_labels_and_volumes(page, site, tmp_path, number):
    page.click(f".phantoms button >> nth={number}")
    page.wait_for_selector(".run:enabled")
    assert re.search(r"64 × 64 × 64 voxels .* of memory here", status(page))
    said = run(page)
    assert any("left" in line for line in said) and status(page).startswith("Done")
    file = site / "_static" / "try" / "made" / f"phantom_{try_it.PHANTOMS[number]}.nii.gz"
    labels = same_as_python(saved(page, tmp_path), of=file)
    ml = np.prod(organseg.load_case(file).spacing) / 1000
    told = json.loads(page.get_attribute(".result", "data-volumes"))
    np.testing.assert_allclose(
        told, [np.count_nonzero(labels == organ.id) * ml for organ in organseg.ORGANS], rtol=1e-6
    )
    assert page.inner_text(".volumes").split()[::2] == [organ.name for organ in organseg.ORGANS]
    assert (
        page.evaluate("document.querySelector('.organseg-scroller').shadowRoot.querySelectorAll('li.here').length") > 3
    )


@pytest.mark.parametrize("turned", [permuted, oblique])
def test_a_file_with_other_axes_gets_pythons_labels(page, tmp_path, turned):
    file = phantom_file(tmp_path, 3007, turned)
    assert file.name in looked_at(page, file)
    run(page)
    same_as_python(saved(page, tmp_path), of=file)


def test_the_engine_is_loaded_when_run_is_pressed_and_nothing_is_asked_of_another_machine(page, address):
    page.click(".phantoms button >> nth=0")
    page.wait_for_selector(".run:enabled")
    assert not [url for url in page.asked if "/ort/" in url or url.endswith(".onnx")]
    page.click(".run")
    page.wait_for_function("document.querySelector('.status').textContent.includes('left')", timeout=120_000)
    assert [url for url in page.asked if url.endswith(".wasm")] and [url for url in page.asked if url.endswith(".onnx")]
    assert not [url for url in page.asked if not url.startswith((address, f"blob:{address}"))]
    # While the network computes, the page goes on, and it can be stopped.
    page.evaluate("() => { window.ticks = 0; setInterval(() => ticks++, 20) }")
    page.wait_for_function("ticks > 4 && document.querySelector('.status').textContent.includes('left')")
    page.click(".cancel")
    assert status(page).startswith("Cancelled") and page.is_hidden(".progress") and page.is_disabled(".run")
    assert page.is_hidden(".save")
    page.click(".phantoms button >> nth=1")
    page.wait_for_selector(".run:enabled")


def bad_files(folder):
    voxels = np.zeros((20, 20, 20), np.int16)

    def write(name, image):
        nibabel.save(image, folder / name)
        return folder / name

    (folder / "text.nii").write_text("no image at all\n" * 100, encoding="utf-8")
    yield folder / "text.nii", "no NIfTI header"
    yield write("series.nii.gz", nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4))), "a series"
    colours = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    yield write("colours.nii.gz", nibabel.Nifti1Image(colours, np.eye(4))), "voxels that are colours"
    whole = write("whole.nii", nibabel.Nifti1Image(voxels, np.eye(4))).read_bytes()
    (folder / "flat.nii").write_bytes(whole[:312] + bytes(16) + whole[328:])  # the sform's last row
    yield folder / "flat.nii", "maps no volume"
    (folder / "short.nii").write_bytes(whole[:5000])
    yield folder / "short.nii", "its header claims"
    huge = nibabel.Nifti1Image(np.zeros((64, 64, 64), np.int16), np.diag([999, 999, 999, 1]))
    yield write("metres.nii.gz", huge), "63,936"


def test_files_that_are_no_ct_are_refused_in_one_line(page, tmp_path):
    for file, words in bad_files(tmp_path):
        line = looked_at(page, file)
        assert words in line and "found" in line and "\n" not in line and file.name in line
        assert page.is_disabled(".run")


def test_the_same_file_can_be_chosen_again_and_a_phantom_out_of_reach_is_told(page, tmp_path):
    file = phantom_file(tmp_path, 3001, permuted)
    for _ in range(2):
        assert file.name in looked_at(page, file)
        assert page.input_value(".file") == "" and page.is_enabled(".run")
    page.context.route("**/phantom_*", lambda route: route.abort())
    page.click(".phantoms button >> nth=0")
    page.wait_for_selector("[data-kind=failed]")
    assert "server does not answer" in status(page) and page.is_disabled(".run")


def test_a_file_cut_short_and_one_without_a_number_are_refused_when_run(page, tmp_path):
    whole = phantom_file(tmp_path, 3001, oblique).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    empty = nibabel.Nifti1Image(np.full((20, 20, 20), np.nan, np.float32), np.diag([8, 8, 8, 1]))
    nibabel.save(empty, tmp_path / "empty.nii.gz")
    for name, words in (("cut.nii.gz", "damaged bytes"), ("empty.nii.gz", "no finite voxel")):
        looked_at(page, tmp_path / name)
        run(page)
        assert words in status(page) and name in status(page) and page.get_attribute(".status", "data-kind") == "failed"


def test_a_scan_that_is_not_in_hu_is_done_and_the_doubt_told(page, tmp_path):
    ramp = np.random.default_rng(0).integers(0, 200, (24, 24, 24)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(ramp, np.diag([8, 8, 8, 1])), tmp_path / "mr.nii.gz")
    looked_at(page, tmp_path / "mr.nii.gz")
    run(page)
    doubts = page.inner_text(".doubts")
    assert status(page).startswith("Done") and "another modality" in doubts and "different values" in doubts


READ = """async ([name, bytes]) => {
  const nifti = await import("/_static/try/nifti.js"), { toWorking } = await import("/_static/try/grid.js");
  const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name), seen = await nifti.look(file);
  const voxels = await nifti.readVoxels(file, seen), scan = { ...seen, voxels };
  const labels = await nifti.write(Uint8Array.from(voxels, (_, n) => n % 8), seen), text = new FileReader();
  await new Promise((done) => { text.onload = done; text.readAsDataURL(labels); });
  const { image, shape, affine, missing } = toWorking(scan, [15, 15, 15]);
  const hu = Array.from(voxels, (value) => value * seen.slope + seen.inter);
  return { affine: seen.affine, doubts: seen.doubts, hu, missing,
    image: Array.from(image), shape, working: affine, labels: text.result.split(",")[1] };
}"""


def odd_images():
    """What people's files are like, as nibabel writes them: name, image."""
    voxels = np.random.default_rng(1).integers(-1000, 1000, (13, 11, 9)).astype(np.int16)
    affine = np.array([[-5.0, 0.4, 0.2, 70], [0.5, 5.5, 0, -60], [0, 0.1, 6.5, -900], [0, 0, 0, 1]])
    straight = np.array([[0, 0, 6.0, -30], [-5, 0, 0, 20], [0, 4, 0, 7], [0, 0, 0, 1.0]])
    yield "straight.nii.gz", nibabel.Nifti1Image(voxels, straight)
    yield "sheared.nii", nibabel.Nifti1Image(voxels, affine)
    yield "two.nii.gz", nibabel.Nifti2Image(voxels.astype(np.float64) / 3, affine)
    extended = nibabel.Nifti2Image(voxels, affine)
    extended.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 4000))
    yield "extended.nii", extended
    big = nibabel.Nifti1Header(endianness=">")
    big.set_data_dtype(np.dtype(">i2"))
    yield "big_endian.nii.gz", nibabel.Nifti1Image(voxels, affine, big)
    yield "gaps.nii", nibabel.Nifti1Image(np.where(voxels > 900, np.nan, voxels).astype(np.float32), straight)
    scaled = nibabel.Nifti1Image(voxels.astype(np.float32), affine)
    scaled.header.set_data_dtype(np.int16)
    scaled.header.set_slope_inter(0.5, -3)
    yield "scaled.nii.gz", scaled
    two_positions = nibabel.Nifti1Image(voxels, straight)
    two_positions.set_qform(oblique(voxels, np.diag([4, 5, 6, 1.0]))[1], code=2)
    yield "both_codes.nii", two_positions
    yield "qform.nii", two_positions
    yield "no_code.nii", two_positions
    metres = nibabel.Nifti1Image(voxels, np.diag([0.005, 0.005, 0.006, 1]))
    metres.header.set_xyzt_units("meter")
    yield "metres.nii.gz", metres


@pytest.mark.filterwarnings("ignore::organseg.errors.OrgansegWarning")
def test_every_kind_of_file_is_read_brought_to_the_grid_and_written_as_in_python(page, tmp_path):
    import base64

    for name, image in odd_images():
        path = tmp_path / name
        nibabel.save(image, path)
        if name in ("qform.nii", "no_code.nii"):
            whole = path.read_bytes()  # the codes of qform and sform are at 252 and 254
            path.write_bytes(whole[:252] + bytes([name == "qform.nii", 0, 0, 0]) + whole[256:])
        found = page.evaluate(READ, [name, base64.b64encode(path.read_bytes()).decode()])
        case = organseg.load_case(path)
        np.testing.assert_allclose(found["affine"], case.affine, rtol=1e-6, atol=1e-5, err_msg=name)
        hu = np.array([np.nan if value is None else value for value in found["hu"]], float)
        np.testing.assert_allclose(hu, case.image.ravel(order="F"), rtol=1e-6, atol=1e-3, err_msg=name)
        working = to_working(case, organseg.WorkingGrid((15.0, 15.0, 15.0)))
        assert tuple(found["shape"]) == working.image.shape, name
        np.testing.assert_allclose(found["working"], working.affine, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(found["image"], working.image.ravel(), atol=0.02, err_msg=name)
        assert found["missing"] == np.count_nonzero(~np.isfinite(case.image))
        (tmp_path / f"labels_{name}.gz").write_bytes(base64.b64decode(found["labels"]))
        written = nibabel.load(tmp_path / f"labels_{name}.gz" if name.endswith(".nii") else _renamed(tmp_path, name))
        np.testing.assert_array_equal(written.affine, nibabel.load(path).affine, err_msg=name)
        np.testing.assert_array_equal(np.asanyarray(written.dataobj).ravel(order="F"), np.arange(case.image.size) % 8)
        assert bool(found["doubts"]) == (name in ("no_code.nii", "metres.nii.gz"))


def _renamed(folder, name):
    return (folder / f"labels_{name}.gz").rename(folder / f"labels_{name}")


def test_axe_finds_nothing_in_it(page, npm_packages):
    page.add_script_tag(path=npm_packages / "axe-core" / "axe.min.js")
    options = {"rules": {name: {"enabled": False} for name in ("document-title", "html-has-lang", "region")}}
    options["rules"] |= {"landmark-one-main": {"enabled": False}, "page-has-heading-one": {"enabled": False}}
    found = page.evaluate("options => axe.run('#try-it', options)", options)["violations"]
    assert not {rule["id"]: [node["html"] for node in rule["nodes"]] for rule in found}


def test_a_page_that_was_opened_as_a_file_says_what_to_do(browser, site):
    page = browser.new_page()
    page.goto((site / "book" / "try_it.html").as_uri())
    assert "make serve" in status(page)
    page.close()


def test_a_book_built_without_npm_says_what_is_missing(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(try_it.shutil, "which", lambda name: None)
    assert "install Node.js" in try_it.put(tmp_path, kept=tmp_path / "kept")
    (tmp_path / "page.html").write_text(
        '<div id="try-it"><p class="status"></p></div><script type="module" src="_static/try/page.js"></script>',
        encoding="utf-8",
    )
    serving = serve.server(tmp_path)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{serving.server_port}/page.html")
    page.wait_for_selector(".status[data-kind=failed]")
    assert "npm was not found" in status(page)
    page.close()
    serving.shutdown()


def test_what_is_fetched_is_fixed_by_version_and_checksum():
    lock = json.loads((try_it.PACKAGES / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: about for name, about in lock["packages"].items() if name}
    assert len(packages) > 3 and all(about["integrity"].startswith("sha512-") for about in packages.values())
    wanted = json.loads((try_it.PACKAGES / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert all(packages[f"node_modules/{name}"]["version"] == version for name, version in wanted.items())
