"""For the tests of data_scripts: archives with the layout and names of the public data sets, made of phantoms, and a
real web server with faults in front of it."""

import contextlib
import functools
import gzip
import hashlib
import http.client
import io
import itertools
import json
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nibabel
import numpy as np
from ports import free_port

from organseg import ORGANS, make_phantom
from tables import DATASETS, read_datasets

AMOS_IDS = {1: 8, 3: 6, 4: 1, 5: 7, 6: 4, 7: 10}  # ours: theirs; it has no portal vein
BTCV_IDS = {1: 8, 2: 10, 3: 6, 4: 1, 5: 7, 6: 4, 7: 11}
MASKS = ("aorta", "portal_vein_and_splenic_vein", "liver", "spleen", "stomach", "gallbladder", "pancreas")
COUNTER = itertools.count()
# How a mapping file names our own ids, and how it describes ../shared/data/real_ct.
ORGANS_TABLE = "[organs]\n" + "".join(f"{organ.name} = {organ.id}\n" for organ in ORGANS)
REAL_CT_MAPPING = (
    'image = "imagesTr/{case}_0000.nii.gz"\nlabel = "labelsTr/{case}.nii.gz"\n'
    'unlabelled = "imagesTs/{case}_0000.nii.gz"\n' + ORGANS_TABLE + "[annotated]\n"
    'amos_0001_slab = ["artery", "liver", "spleen", "stomach", "gallbladder", "pancreas"]\ndcmqi_3slice = ["liver"]\n'
)
META = "image_id;age;gender;institute;study_type;split;manufacturer;scanner_model;kvp;pathology;pathology_location"


@functools.cache
def phantom(seed, shape=(48, 48, 40)):
    return make_phantom(seed, shape)


def nifti(voxels, affine):
    """The bytes of a .nii.gz."""
    return gzip.compress(nibabel.Nifti1Image(voxels, affine).to_bytes(), compresslevel=1, mtime=0)


def image_bytes(case):
    return nifti(np.rint(case.image).astype(np.int16), case.affine)


def renamed(label, ids):
    """A label image with other ids: a kidney (2) is drawn beside the organs, what has no id there is background."""
    result = np.zeros_like(label)
    result[:3, :3, :3] = 2
    for ours, theirs in ids.items():
        result[label == ours] = theirs
    return result


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def totalsegmentator(path, seeds=(0, 1, 2, 3), without=(), distinct=8):
    """`without`: names of members to leave out. The last case is of the test split. There are `distinct` patients."""
    members = {}
    rows = [META]
    for i, seed in enumerate(seeds):
        case, name = phantom(seed % distinct), f"s{seed:04d}"
        rows.append(f"{name};60;f;I;ct abdomen;{'test' if i == len(seeds) - 1 else 'train'};siemens;x;120;no;")
        members[f"{name}/ct.nii.gz"] = image_bytes(case)
        for organ, mask in enumerate((*MASKS, "iliac_artery_left", "kidney_left"), start=1):
            members[f"{name}/segmentations/{mask}.nii.gz"] = nifti((case.label == organ).astype(np.uint8), case.affine)
    members["meta.csv"] = "\ufeff" + "\n".join(rows) + "\n"
    return zipped(path, {name: content for name, content in members.items() if name not in without})


def msd(path, task, ids, seeds=(0, 1, 2)):
    """A tar with labels as float32, macOS' `._` files and unlabelled images, as the Decathlon's."""
    members = {f"{task}/dataset.json": b"{}", f"{task}/._dataset.json": b"x"}
    for seed in seeds:
        case, name = phantom(seed), f"{task.split('_')[1].lower()}_{seed}.nii.gz"
        label = renamed(case.label, ids)
        label[:3, :3, :3] = 0
        inside = np.argwhere(label == 1)
        if 2 in ids.values():  # a tumour
            label[tuple(inside[len(inside) // 2])] = 2
        members[f"{task}/imagesTr/{name}"] = image_bytes(case)
        members[f"{task}/imagesTr/._{name}"] = b"x"
        members[f"{task}/labelsTr/{name}"] = nifti(label.astype(np.float32), case.affine)
        members[f"{task}/imagesTs/other_{seed}.nii.gz"] = image_bytes(case)
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(f"./{name}" if task.endswith("Liver") else name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def amos22(path, seeds=(0, 1, 2)):
    """Training and validation cases, a test case without label and an MR scan (its id is above 500)."""
    members = {}
    for seed in seeds:
        case, part, name = phantom(seed), ("Va" if seed == seeds[-1] else "Tr"), f"amos_{4 * seed + 1:04d}.nii.gz"
        members[f"amos22/images{part}/{name}"] = image_bytes(case)
        members[f"amos22/labels{part}/{name}"] = nifti(renamed(case.label, AMOS_IDS), case.affine)
    members["amos22/imagesTs/amos_0450.nii.gz"] = image_bytes(phantom(0))
    members["amos22/imagesTr/amos_0507.nii.gz"] = image_bytes(phantom(0))
    members["amos22/labelsTr/amos_0507.nii.gz"] = nifti(phantom(0).label, phantom(0).affine)
    members["__MACOSX/amos22/imagesTr/._amos_0001.nii.gz"] = b"x"
    return zipped(path, members)


def btcv(path, seeds=(0, 1, 2), members=None):
    members = dict(members or {})
    for seed in seeds:
        case = phantom(seed)
        members[f"RawData/Training/img/img{seed + 1:04d}.nii.gz"] = image_bytes(case)
        members[f"RawData/Training/label/label{seed + 1:04d}.nii.gz"] = nifti(
            renamed(case.label, BTCV_IDS), case.affine
        )
    members["RawData/Testing/img/img0061.nii.gz"] = image_bytes(phantom(0))
    return zipped(path, members)


def organamnist(path, count=200):
    """Pictures whose class can be learned: the brightness of one of eleven stripes."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, number in (("train", 4 * count), ("val", count), ("test", count)):
        labels = rng.integers(11, size=number)
        pictures = rng.integers(0, 100, size=(number, 28, 28))
        for picture, label in zip(pictures, labels, strict=True):
            picture[2 * label : 2 * label + 4] += 120
        arrays |= {f"{part}_images": pictures.astype(np.uint8), f"{part}_labels": labels[:, None].astype(np.uint8)}
    np.savez_compressed(path, **arrays)
    return path


ARCHIVES = {
    "totalsegmentator-small": totalsegmentator,
    "totalsegmentator": functools.partial(totalsegmentator, seeds=(2, 4, 5)),
    "msd-spleen": functools.partial(msd, task="Task09_Spleen", ids={4: 1}),
    "msd-liver": functools.partial(msd, task="Task03_Liver", ids={3: 1, 0: 0, 9: 2}),
    "msd-pancreas": functools.partial(msd, task="Task07_Pancreas", ids={7: 1, 9: 2}),
    "amos22": amos22,
    "organmnist-axial": organamnist,
}


def served(folder, address, names=tuple(ARCHIVES)):
    """Write the archives of these sets into a server's folder, and a table of data sets that finds them there."""
    tables = read_datasets(DATASETS)
    for name in names:
        file = folder / tables[name]["url"].rpartition("/")[2]
        if not file.is_file():
            ARCHIVES[name](file)
        content = file.read_bytes()
        tables[name] |= {"url": f"{address}/{file.name}", "bytes": len(content), "gigabytes": len(content) / 1e9}
        if "md5" in tables[name]:
            tables[name]["md5"] = hashlib.md5(content).hexdigest()
    return write_tables(folder.parent / f"datasets-{next(COUNTER)}.toml", tables)


def altered(table, name, path, without=(), **changes):
    """A copy of a table of data sets with some entries of one set left out or changed."""
    tables = read_datasets(table)
    tables[name] = {key: value for key, value in tables[name].items() if key not in without} | changes
    return write_tables(path, tables)


def write_tables(path, tables):
    """A TOML file; JSON's strings, numbers and lists are TOML's too."""

    def value(entry):
        if isinstance(entry, dict):
            return "{" + ", ".join(f"{key} = {json.dumps(content)}" for key, content in entry.items()) + "}"
        return json.dumps(entry)

    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {value(entry)}" for key, entry in table.items() if key != "like")]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@contextlib.contextmanager
def serving(nginx, folder):
    """nginx serves `folder`/files: / with ranges, /noranges, /moved (redirects to /), /slow (500 kB/s)."""
    port, files = free_port(), folder / "files"
    files.mkdir(exist_ok=True)
    settings = f"""
        worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{ worker_connections 64; }}
        http {{
            access_log {folder}/access.log; default_type application/octet-stream; types {{ text/html html; }}
            client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
            uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
            server {{
                listen 127.0.0.1:{port};
                location / {{ root {files}; }}
                location /noranges/ {{ alias {files}/; max_ranges 0; }}
                location /slow/ {{ alias {files}/; limit_rate 500k; }}
                location /moved/ {{ rewrite ^/moved/(.*)$ http://127.0.0.1:{port}/$1 redirect; }}
            }}
        }}"""
    (folder / "nginx.conf").write_text(settings, encoding="utf-8")
    user = ["-g", "user root;"] if shutil.os.getuid() == 0 else []
    server = subprocess.Popen([nginx, "-c", str(folder / "nginx.conf"), *user], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@contextlib.contextmanager
def faulty(address, faults):
    """A server that hands every request on to another one, and injures the answer by the next of `faults`.

    A fault is a status to answer, a share of the body (0.5) after which the connection is cut, or None for none; when
    the list is used up there are no more. Yields the address and the list of (Range header, status) of all requests.
    """
    host = address.removeprefix("http://")
    left, seen = list(faults), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            fault = left.pop(0) if left else None
            if isinstance(fault, int):
                seen.append((self.headers.get("Range"), fault))
                return self.send_error(fault)
            upstream = http.client.HTTPConnection(host, timeout=20)
            upstream.request("GET", self.path, headers={k: v for k, v in self.headers.items() if k != "Host"})
            answer = upstream.getresponse()
            seen.append((self.headers.get("Range"), answer.status))
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(key, value)
            self.end_headers()
            body = answer.read()
            self.wfile.write(body if fault is None else body[: int(fault * len(body))])
            self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


def content_of(folder):
    """All files of a prepared folder with their bytes, the archive and what only a run needs left out."""
    return {
        p.relative_to(folder).as_posix(): hashlib.md5(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not re.match(r"archive/|\.preparing\.lock", p.relative_to(folder).as_posix())
    }
