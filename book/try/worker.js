// What takes time, in a thread of its own, so that the page stays alive: a file is looked at, read, brought to the working
// grid, segmented tile by tile and brought back. Messages in: {do: "look" | "run" | "save", ...}; out: {step, ...}.
import { determinant, look, readVoxels, spacingOf, write } from "./nifti.js";
import { gridAround, toFileGrid, toWorking } from "./grid.js";

const BUDGET = 1.2e9; // bytes that the network may take for one tile
const MOST = 8e9; // bytes in all: no tab of a browser gets more
const tell = (step, more = {}) => postMessage({ step, ...more });
let config, seen, file, labels;

onmessage = async ({ data }) => {
  try {
    await { look: lookAt, run, save }[data.do](data);
  } catch (error) {
    const memory = /alloc|out of memory|array (buffer|length)/i.test(error.message);
    const words = `${seen?.name}: found too little memory for this scan; close other tabs, or take a smaller scan`;
    tell("failed", { words: memory ? words : error.message || String(error), again: error.again });
  }
};

async function get(name) {
  const answer = await fetch(name).catch(() => ({ ok: false }));
  if (answer.ok) return answer;
  throw Object.assign(new Error("The book's server does not answer; see that you are connected, and try again"), { again: true });
}

async function lookAt(data) {
  config ??= await (await get("made/config.json")).json();
  file = data.file;
  seen = await look(file);
  const { working, depth, multiple } = plan(), voxels = seen.shape.reduce((a, b) => a * b);
  // What is unpacked, the labels, the probabilities, and the network at its widest place.
  const tile = Math.min(multiple(working[2]), depth + 2 * config.margin);
  const network = config.bytesPerVoxel * multiple(working[0]) * multiple(working[1]) * tile;
  const memory = seen.bytes + voxels + 40 * working[0] * working[1] * working[2] + network;
  const spacing = spacingOf(seen.affine);
  if (memory > MOST) {
    const extent = spacing.map((mm, axis) => Math.round(mm * seen.shape[axis]).toLocaleString("en")).join(" × ");
    throw new Error(`${seen.name}: found a scan of ${extent} mm, which needs more memory than a browser has; check its voxel size`);
  }
  tell("seen", { name: seen.name, shape: seen.shape, spacing, memory, doubts: seen.doubts });
}

// The working grid's shape, and how many slices of it a tile keeps.
function plan() {
  const multiple = (n) => Math.ceil(n / config.multiple) * config.multiple;
  const working = gridAround(seen.shape, seen.affine, config.spacing).shape;
  const slices = Math.floor(BUDGET / (config.bytesPerVoxel * multiple(working[0]) * multiple(working[1])));
  const whole = slices >= multiple(working[2]);
  const depth = whole ? multiple(working[2])
    : Math.max(Math.floor((slices - 2 * config.margin) / config.multiple) * config.multiple, config.multiple);
  return { working, depth, multiple };
}

async function run() {
  const began = performance.now();
  tell("working", { words: "Loading the network", share: 0 });
  const { session, ort, threads } = await engine();
  const pace = await measure(session, ort); // seconds per voxel
  const share = (words) => (part) => tell("working", { words, share: part });
  const voxels = await readVoxels(file, seen, share("Reading the file"));
  const scan = { ...seen, voxels }, working = toWorking(scan, config.spacing, share("Bringing it to voxels of 4 mm"));
  const doubts = doubtsAbout(scan, working.missing);
  const probabilities = await segment(session, ort, working, pace);
  const result = toFileGrid(probabilities, config.classes, working, scan, share("Bringing the organs back to the scan's own grid"));
  labels = result;
  const counts = new Float64Array(config.classes);
  for (const label of result) counts[label]++;
  const ml = Math.abs(determinant(scan.affine)) / 1000;
  tell("working", { words: "Drawing it", share: 1 });
  const shown = await forTheScroller(scan, probabilities, working);
  tell("done", { volumes: Array.from(counts.subarray(1), (count) => count * ml), shown, doubts, threads,
    seconds: (performance.now() - began) / 1000 });
}

async function save() {
  tell("saved", { blob: await write(labels, seen), name: seen.name.replace(/(\.nii)?(\.gz)?$/i, "") + "_labels.nii.gz" });
}

async function engine() {
  const at = (name) => new URL(`made/ort/${name}`, location.href).href, ort = await get(at("ort.js")).then(() => import(at("ort.js")));
  ort.env.wasm.wasmPaths = { mjs: at("wasm.js"), wasm: at("ort.wasm") };
  // WebGPU is not used: its engine is 12 MB larger, and whether it agrees nobody could see where this was written.
  // Several threads need memory that they share, which a browser gives only to pages that isolate themselves.
  const threads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.wasm.numThreads = threads;
  const network = new Uint8Array(await (await get("made/network.onnx")).arrayBuffer());
  return { ort, threads, session: await ort.InferenceSession.create(network) };
}

async function measure(session, ort) {
  const side = 2 * config.multiple, once = () => infer(session, ort, new Float32Array(side ** 3), [side, side, side]);
  await once();
  const began = performance.now();
  await once();
  return (performance.now() - began) / 1000 / side ** 3;
}

async function infer(session, ort, image, shape) {
  const tensor = new ort.Tensor("float32", image, [1, ...shape, 1]);
  const answer = (await session.run({ [session.inputNames[0]]: tensor }))[session.outputNames[0]];
  const data = answer.data;
  answer.dispose();
  return data;
}

// Probabilities (x, y, z, class): tiles follow each other along z and see `margin` slices more than they keep, so that no
// seam is left, as lib/organseg/inference.py explains.
async function segment(session, ort, { image, shape }, pace) {
  const { depth, multiple } = plan(), [nx, ny, nz] = shape, classes = config.classes;
  const [px, py, pz] = shape.map(multiple), [low, high] = config.window, result = new Float32Array(nx * ny * nz * classes);
  const tiles = [];
  for (let start = 0; start < pz; start += depth) {
    const stop = Math.min(start + depth, pz);
    tiles.push({ start, stop, from: Math.max(start - config.margin, 0), to: Math.min(stop + config.margin, pz) });
  }
  const seconds = tiles.map(({ from, to }) => pace * px * py * (to - from));
  let left = seconds.reduce((a, b) => a + b);
  const all = left;
  for (const [n, { start, stop, from, to }] of tiles.entries()) {
    tell("working", { words: "The network looks at it", share: 1 - left / all, seconds: left });
    const deep = to - from, input = new Float32Array(px * py * deep); // 0 is air, as the convolutions' own padding
    for (let x = 0; x < nx; x++)
      for (let y = 0; y < ny; y++)
        for (let z = from; z < Math.min(to, nz); z++) {
          const hu = Math.min(Math.max(image[(x * ny + y) * nz + z], low), high);
          input[(x * py + y) * deep + z - from] = (hu - low) / (high - low);
        }
    const answer = await infer(session, ort, input, [px, py, deep]), end = Math.min(stop, nz);
    for (let x = 0; x < nx; x++)
      for (let y = 0; y < ny; y++) {
        const at = ((x * py + y) * deep + start - from) * classes;
        if (end > start) result.set(answer.subarray(at, at + (end - start) * classes), ((x * ny + y) * nz + start) * classes);
      }
    left -= seconds[n];
  }
  return result;
}

// What looks wrong although it can be read; lib/organseg/command/doubts.py has more of them.
function doubtsAbout({ voxels, slope, inter }, missing) {
  const values = new Set(), doubts = [], step = Math.max(1, Math.floor(voxels.length / 1e6));
  let low = Infinity, high = -Infinity;
  for (let at = 0; at < voxels.length; at += step) {
    const value = voxels[at] * slope + inter;
    if (!Number.isFinite(value)) continue;
    if (values.size < 257) values.add(value);
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low === Infinity) throw new Error(`${seen.name}: found no finite voxel; expected HU; export the CT again`);
  const told = (value) => Math.round(value).toLocaleString("en").replace("-", "−"), fewest = Math.min(...seen.shape);
  if (fewest < 8) doubts.push(`only ${fewest} ${fewest === 1 ? "voxel" : "voxels"} along one axis: too thin to show organs`);
  if (missing) doubts.push(`${told(missing)} voxels are not finite; they count as air`);
  if (low > -200) doubts.push(`lowest value ${told(low)}: a CT in HU has air near −1000; is this another modality?`);
  if (high < 0) doubts.push(`highest value ${told(high)}: soft tissue has 0 to 100 HU; are all values shifted?`);
  if (values.size === 1) doubts.push("the same value everywhere: no image");
  else if (values.size <= 256) doubts.push(`only ${values.size} different values: a picture or a label map rather than HU?`);
  return doubts;
}

// The scan and its labels as show/scroller.py stores them: on a grid of at most 128 voxels along an axis, in two sheets.
async function forTheScroller(scan, probabilities, working) {
  const extent = working.shape.map((n, axis) => n * config.spacing[axis]);
  const spacing = [0, 1, 2].fill(Math.max(...extent.map((mm) => mm / 128), Math.min(...spacingOf(scan.affine))));
  const small = toWorking(scan, spacing), [nx, ny, nz] = small.shape;
  const organs = toFileGrid(probabilities, config.classes, working, small); // x fastest
  const edges = [];
  for (let hu = -1024; hu < -200; hu += 4 * config.step) edges.push(hu);
  for (let hu = -200; hu < 300; hu += config.step) edges.push(hu);
  for (let hu = 300; hu < 1500; hu += 4 * config.step) edges.push(hu);
  edges.push(1500);
  const hu = [-1024, ...edges.slice(1).map((edge, n) => (edge + edges[n]) / 2), 1500];
  const table = Uint8Array.from({ length: 2526 }, (_, n) => edges.filter((edge) => edge <= n - 1025).length);
  const codes = Uint8Array.from(small.image, (value) => table[Math.floor(Math.min(Math.max(value, -1025), 1500)) + 1025]);
  const code = (x, y, z) => codes[(x * ny + y) * nz + z], organ = (x, y, z) => organs[(z * ny + y) * nx + x];
  const slices = bestSlices(organ, small.shape);
  const first = small.affine.slice(0, 3).map((row) => row[3]);
  return { shape: small.shape, spacing, origin: first, hu, step: config.step, slices,
    image: await sheet(code, small.shape, 1), labels: await sheet(organ, small.shape, config.labelStep) };
}

// Of each plane the slice that most organs cross; of equals, the one with most of their voxels.
function bestSlices(organ, shape) {
  const kinds = shape.map((n) => new Uint16Array(n)), voxels = shape.map((n) => new Float64Array(n));
  for (let z = 0; z < shape[2]; z++)
    for (let y = 0; y < shape[1]; y++)
      for (let x = 0; x < shape[0]; x++) {
        const label = organ(x, y, z);
        if (label) [x, y, z].forEach((at, axis) => ((kinds[axis][at] |= 1 << label), voxels[axis][at]++));
      }
  const score = (axis, at) => 1e9 * [...kinds[axis][at].toString(2)].filter((bit) => bit === "1").length + voxels[axis][at];
  const best = shape.map((n, axis) => Array.from({ length: n }, (_, at) => score(axis, at))
    .reduce((found, value, at, all) => (value > all[found] ? at : found), Math.floor(n / 2)));
  return { sagittal: best[0], coronal: best[1], axial: best[2] };
}

async function sheet(value, [nx, ny, nz], step) {
  const columns = Math.max(1, Math.round(Math.sqrt((nz * ny) / nx)));
  const canvas = new OffscreenCanvas(columns * nx, Math.ceil(nz / columns) * ny), context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height), rgba = new Uint32Array(pixels.data.buffer);
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++) {
        const row = Math.floor(k / columns) * ny + j, column = (k % columns) * nx + i;
        const grey = step * value(nx - 1 - i, ny - 1 - j, nz - 1 - k); // from right, front and head
        rgba[row * canvas.width + column] = 0xff000000 + 0x010101 * grey;
      }
  context.putImageData(pixels, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
