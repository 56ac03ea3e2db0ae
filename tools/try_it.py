"""What the page "Try it" loads, put into a built book: `python tools/try_it.py HTML_FOLDER`.

The network is exported from the package's weights. What runs it in a browser is fetched by npm, in the versions and
with the checksums of tools/browser/package-lock.json; none of it is in git. Without npm the page says what is missing.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ROOT / "tools" / "browser"
KEPT = ROOT / "build" / "browser"  # from one build to the next
NETWORK = "pretrained"
PHANTOMS = (3001, 3003, 3005)  # seeds that no network was trained on
# Its own scripts lie in book/try and not in _static, of which Jupyter Book loads every script into every page.
PAGE = ROOT / "book" / "try"
# The engine's modules become .js: some web servers do not know .mjs, and a browser refuses what they make of it.
ENGINE = {
    "ort.wasm.min.mjs": "ort.js",
    "ort-wasm-simd-threaded.mjs": "wasm.js",
    "ort-wasm-simd-threaded.wasm": "ort.wasm",
}


def fetch(kept=KEPT):
    """The folder of the npm packages, fetched unless it is there; or None, with a line that says why."""
    lock = (PACKAGES / "package-lock.json").read_text(encoding="utf-8")
    stamp = kept / "fetched.json"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != lock:
        kept.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PACKAGES / name, kept)
        npm = shutil.which("npm")
        if npm is None:
            return None, "npm was not found when this book was built; install Node.js, then run `make book` again."
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=kept, capture_output=True, text=True)
        if done.returncode:
            return (
                None,
                f"npm could not fetch it when this book was built ({done.stderr.strip().splitlines()[0]:.100}).",
            )
        stamp.write_text(lock, encoding="utf-8")
    return kept / "node_modules", ""


def copy_scripts(packages, made):
    """The engine, the NIfTI reader and the scroller: files that a browser loads as they are."""
    for name, here in ENGINE.items():
        _copy(packages / "onnxruntime-web" / "dist" / name, made / "ort" / here)
    for file in (packages / "nifti-reader-js" / "dist").glob("*.js"):
        # A browser looks for no packages: the one name of a package becomes a path.
        text = file.read_text(encoding="utf-8").replace("from 'fflate'", "from './fflate.js'")
        (made / "nifti").mkdir(exist_ok=True)
        (made / "nifti" / file.name).write_text(text, encoding="utf-8")
    _copy(packages / "fflate" / "esm" / "browser.js", made / "nifti" / "fflate.js")
    for name in ("fflate", "nifti-reader-js"):  # the engine's files begin with theirs
        _copy(packages / name / "LICENSE", made / "nifti" / f"LICENSE-{name}")
    page = resources.files("organseg.show").joinpath("scroller.html").read_text(encoding="utf-8")
    script = page.partition("<script>")[2].rpartition("</script>")[0]
    (made / "scroller.js").write_text(script, encoding="utf-8")


def _copy(file, to):
    to.parent.mkdir(exist_ok=True)
    shutil.copy(file, to)


def export(run, kept=KEPT):
    """The file of the network in ONNX, for images of any size; made anew when the weights change."""
    import numpy as np

    from organseg.runs import WEIGHTS

    weights = b"".join(path.read_bytes() for path in sorted((WEIGHTS / NETWORK).iterdir()))
    file = kept / f"{NETWORK}-{hashlib.sha256(weights).hexdigest()[:16]}.onnx"
    if not file.is_file():
        run.network(np.zeros((1, 16, 16, 16, 1), np.float32))  # Keras exports only what has been called
        aside = file.with_suffix(".part.onnx")
        run.network.export(str(aside), format="onnx", verbose=False)
        aside.replace(file)
    return file


def settings(run):
    """What the page must know of the network, the organs and the scroller, so that it is said once, in Python."""
    from organseg.inference import bytes_per_voxel
    from organseg.networks import reach, size_multiple
    from organseg.organs import NUM_CLASSES, ORGANS
    from organseg.scans import HU_WINDOW
    from organseg.show import scroller

    if run.grid.factor:
        raise SystemExit(f"found a working grid by a factor in {NETWORK}; the page knows one voxel size only")
    multiple = size_multiple(run.network)
    return {
        "spacing": run.grid.spacing,
        "window": HU_WINDOW,
        "multiple": multiple,
        "margin": -(-reach(run.network) // multiple) * multiple,
        "bytesPerVoxel": bytes_per_voxel(run.network),
        "classes": NUM_CLASSES,
        "organs": [(organ.name, organ.colour) for organ in ORGANS],
        "step": scroller.QUALITIES[0][1],
        "labelStep": scroller.LABEL_STEP,
        "scroller": {"plane": "axial", "window": "soft tissue", "opacity": 40, "labelStep": scroller.LABEL_STEP}
        | {"marks": scroller.MARKS, "windows": scroller.WINDOWS},
        "phantoms": [(f"phantom_{seed}.nii.gz", f"Phantom {n}") for n, seed in enumerate(PHANTOMS, 1)],
    }


def put(html, kept=KEPT):
    """Fill `_static/try` of a built book; returns what is missing, in words, or nothing."""
    there = Path(html) / "_static" / "try"
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(PAGE, there)
    made = there / "made"
    made.mkdir()
    packages, missing = fetch(kept)
    if missing:
        about = {"missing": f"What runs the network in the page is not in this copy of the book: {missing}"}
    else:
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # the other backends export through it
        import organseg

        run = organseg.load_run(NETWORK)
        copy_scripts(packages, made)
        shutil.copy(export(run, kept), made / "network.onnx")
        for seed in PHANTOMS:
            case = organseg.make_phantom(seed, (64, 64, 64))
            organseg.save_image(case.image, case.affine, made / f"phantom_{seed}.nii.gz")
        about = settings(run)
    (made / "config.json").write_text(json.dumps(about), encoding="utf-8")
    return missing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("html", help="the folder of the built book's pages")
    if missing := put(parser.parse_args().html):
        print(f"The page 'Try it' will not run: {missing}", file=sys.stderr)


if __name__ == "__main__":
    main()
