"""Three-dimensional pictures in the book: its pages share one copy of plotly's script, the installed package's.

A notebook stores a rendering as plotly's own kind of output. Before a page is read, this Sphinx extension puts in its
place the piece of HTML that `mesh.js` fills; nothing is taken from the net.
"""

import json
import shutil
from importlib import resources
from pathlib import Path

from organseg.show.mesh import PLOTLY
from organseg.show.picture import fill_page

SCRIPTS = (("plotly", "package_data/plotly.min.js"), ("organseg.show", "mesh.js"))


def place_renderings(app, docname, source):
    if Path(app.env.doc2path(docname)).suffix != ".ipynb" or PLOTLY not in source[0]:
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        words = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if PLOTLY in data:
                still = "".join(data["image/png"]).strip()
                output["data"] = {"text/html": fill_page("mesh.html", data[PLOTLY], still, words)}
    source[0] = json.dumps(notebook)


def copy_scripts(app, error):
    if error is None and app.builder.format == "html":
        for package, name in SCRIPTS:
            with resources.as_file(resources.files(package).joinpath(name)) as file:
                shutil.copy(file, Path(app.outdir) / "_static" / file.name)


def setup(app):
    app.connect("source-read", place_renderings)
    app.connect("build-finished", copy_scripts)
    app.add_js_file("mesh.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
