// From a file's grid to the working grid and the exact way back: lib/organseg/geometry.py, a second time, in JavaScript.
// A volume from a file runs x fastest; one on a working grid runs z fastest, as the network wants it.
import { determinant } from "./nifti.js";

const AIR = -1000; // HU; what surrounds a scan
const FWHM = 2 * Math.sqrt(2 * Math.log(2));

// The image (Float32Array, HU) on the grid of this spacing (mm) around a scan {voxels, shape, affine, slope, inter}:
// {image, shape, affine, missing}, the last being how many voxels were not finite.
export function toWorking(scan, spacing, progress) {
  const { shape, affine } = gridAround(scan.shape, scan.affine, spacing);
  const there = multiply(inverse(scan.affine), affine); // working index → file index
  const sigmas = [0, 1, 2].map((row) => {
    const factor = Math.max(1, ...there[row].slice(0, 3).map(Math.abs));
    return Math.sqrt(factor ** 2 - 1) / FWHM;
  });
  const along = [0, 1, 2].map((row) => [0, 1, 2].find((column) => Math.abs(there[row][column]) > 0.5 * norm(there[row])));
  const straight = !isOblique(there, along, shape);
  const weights = [0, 1, 2].map((row) => straight
    ? axisWeights(scan.shape[row], there[row][along[row]], there[row][3], shape[along[row]], sigmas[row])
    : axisWeights(scan.shape[row], 1, 0, scan.shape[row], sigmas[row]));
  const { image: smooth, missing } = readAlongAxes(scan, weights, progress);
  const counts = weights.map((axis) => axis.length), strides = [1, counts[0], counts[0] * counts[1]];
  const read = straight ? pick(smooth, strides, along, there, scan.shape) : linear(smooth, strides, there, scan.shape);
  const image = new Float32Array(shape[0] * shape[1] * shape[2]);
  for (let x = 0, at = 0; x < shape[0]; x++)
    for (let y = 0; y < shape[1]; y++)
      for (let z = 0; z < shape[2]; z++, at++) image[at] = read(x, y, z);
  return { image, shape, affine, missing };
}

// Air, where a place lies outside of the scan.
const outside = (place, size) => place <= -0.501 || place >= size - 0.499;

function pick(volume, strides, along, there, size) {
  const row = [0, 1, 2].map((axis) => along.indexOf(axis)); // the file's axis of each of ours
  const out = (axis, i) => outside(there[row[axis]][axis] * i + there[row[axis]][3], size[row[axis]]);
  const [a, b, c] = row.map((axis) => strides[axis]);
  return (x, y, z) => (out(0, x) || out(1, y) || out(2, z) ? AIR : volume[x * a + y * b + z * c]);
}

function linear(volume, strides, [p, q, r], size) {
  const inside = (place, n) => Math.min(Math.max(place, 0), n - 1);
  return (x, y, z) => {
    const u = p[0] * x + p[1] * y + p[2] * z + p[3], v = q[0] * x + q[1] * y + q[2] * z + q[3];
    const w = r[0] * x + r[1] * y + r[2] * z + r[3];
    if (outside(u, size[0]) || outside(v, size[1]) || outside(w, size[2])) return AIR;
    const cu = inside(u, size[0]), cv = inside(v, size[1]), cw = inside(w, size[2]);
    const i = Math.floor(cu), j = Math.floor(cv), k = Math.floor(cw), fu = cu - i, fv = cv - j, fw = cw - k;
    const at = i + j * strides[1] + k * strides[2];
    const a = i + 1 < size[0] ? 1 : 0, b = j + 1 < size[1] ? strides[1] : 0, c = k + 1 < size[2] ? strides[2] : 0;
    const edge = (from) => (1 - fu) * volume[from] + fu * volume[from + a];
    return (1 - fw) * ((1 - fv) * edge(at) + fv * edge(at + b)) + fw * ((1 - fv) * edge(at + c) + fv * edge(at + b + c));
  };
}

// The most probable label at every voxel of a file's grid (Uint8Array, x fastest), from probabilities (x, y, z, class).
// Where all eight neighbours agree, so does every mean of them: only at borders there is anything to compute.
export function toFileGrid(probabilities, classes, working, scan, progress) {
  const [nx, ny, nz] = working.shape, back = multiply(inverse(working.affine), scan.affine);
  const best = new Uint8Array(nx * ny * nz), agreed = new Uint8Array(nx * ny * nz);
  for (let at = 0; at < best.length; at++) {
    let winner = 0;
    for (let c = 1; c < classes; c++)
      if (probabilities[at * classes + c] > probabilities[at * classes + winner]) winner = c;
    best[at] = winner;
  }
  const dx = ny * nz, dy = nz, next = (x, y, z) => [x < nx - 1 ? dx : 0, y < ny - 1 ? dy : 0, z < nz - 1 ? 1 : 0];
  for (let x = 0, at = 0; x < nx; x++)
    for (let y = 0; y < ny; y++)
      for (let z = 0; z < nz; z++, at++) {
        const [a, b, c] = next(x, y, z), value = best[at];
        const same = [a, b, c, a + b, a + c, b + c, a + b + c].every((step) => best[at + step] === value);
        agreed[at] = same ? value : 255;
      }
  const [fx, fy, fz] = scan.shape, labels = new Uint8Array(fx * fy * fz), sums = new Float64Array(classes);
  for (let z = 0, out = 0; z < fz; z++, progress?.(z / fz))
    for (let y = 0; y < fy; y++) {
      let [px, py, pz] = apply(back, [0, y, z]);
      for (let x = 0; x < fx; x++, out++, px += back[0][0], py += back[1][0], pz += back[2][0]) {
        const cx = Math.min(Math.max(px, 0), nx - 1), cy = Math.min(Math.max(py, 0), ny - 1), cz = Math.min(Math.max(pz, 0), nz - 1);
        const ix = Math.floor(cx), iy = Math.floor(cy), iz = Math.floor(cz), at = (ix * ny + iy) * nz + iz;
        const value = agreed[at];
        labels[out] = value < 255 ? value : winnerBetween(probabilities, classes, at, next(ix, iy, iz), cx - ix, cy - iy, cz - iz, sums);
      }
    }
  return labels;
}

function winnerBetween(probabilities, classes, at, [a, b, c], u, v, w, sums) {
  sums.fill(0);
  for (let corner = 0; corner < 8; corner++) {
    const share = (corner & 1 ? u : 1 - u) * (corner & 2 ? v : 1 - v) * (corner & 4 ? w : 1 - w);
    if (share === 0) continue;
    const from = (at + (corner & 1 ? a : 0) + (corner & 2 ? b : 0) + (corner & 4 ? c : 0)) * classes;
    for (let k = 0; k < classes; k++) sums[k] += share * probabilities[from + k];
  }
  let winner = 0;
  for (let k = 1; k < classes; k++) if (sums[k] > sums[winner]) winner = k;
  return winner;
}

// How much each voxel of an axis counts where it is read: a list of {first, weights}. A Gaussian of `sigma` voxels, then
// linear reading at start + i step; the border goes on.
function axisWeights(size, step, start, count, sigma) {
  const radius = Math.floor(4 * sigma + 0.5), kernel = [];
  for (let k = -radius; k <= radius; k++) kernel.push(sigma ? Math.exp((-0.5 * k * k) / (sigma * sigma)) : 1);
  const total = kernel.reduce((sum, value) => sum + value, 0);
  const inside = (j) => Math.min(Math.max(j, 0), size - 1);
  return Array.from({ length: count }, (_, i) => {
    const place = inside(start + i * step), below = Math.floor(place), part = place - below;
    const first = inside(below - radius), weights = new Float64Array(inside(below + 1 + radius) - first + 1);
    for (let k = -radius; k <= radius; k++) {
      weights[inside(below + k) - first] += ((1 - part) * kernel[k + radius]) / total;
      weights[inside(inside(below + 1) + k) - first] += (part * kernel[k + radius]) / total;
    }
    return { first, weights };
  });
}

// A scan's HU, weighed along its three axes, slice by slice as the file holds them; not finite is air.
function readAlongAxes({ voxels, shape, slope, inter }, [wx, wy, wz], progress) {
  const [nx, ny, nz] = shape, slice = new Float64Array(nx * ny), rows = new Float64Array(wx.length * ny);
  const plane = new Float64Array(wx.length * wy.length), image = new Float32Array(plane.length * wz.length);
  const readers = Array.from({ length: nz }, () => []); // for each slice, who reads it and how much it counts
  wz.forEach(({ first, weights }, k) => weights.forEach((weight, j) => readers[first + j].push([k, weight])));
  let missing = 0;
  for (let z = 0; z < nz; z++, progress?.(z / nz)) {
    if (!readers[z].length) continue;
    for (let at = 0, from = z * slice.length; at < slice.length; at++) {
      const value = voxels[from + at] * slope + inter;
      if (Number.isFinite(value)) slice[at] = Math.max(value, AIR);
      else (slice[at] = AIR), missing++;
    }
    for (let y = 0; y < ny; y++)
      wx.forEach(({ first, weights }, i) => {
        let sum = 0;
        for (let j = 0, from = y * nx + first; j < weights.length; j++) sum += weights[j] * slice[from + j];
        rows[y * wx.length + i] = sum;
      });
    plane.fill(0);
    wy.forEach(({ first, weights }, i) => weights.forEach((weight, j) => {
      for (let x = 0, to = i * wx.length, from = (first + j) * wx.length; x < wx.length; x++) plane[to + x] += weight * rows[from + x];
    }));
    for (const [k, weight] of readers[z])
      for (let at = 0, to = k * plane.length; at < plane.length; at++) image[to + at] += weight * plane[at];
  }
  return { image, missing };
}

// Shape and affine of the grid with axes to the patient's right, front and head over a volume's outer edges.
export function gridAround(shape, affine, spacing) {
  const ends = [[], [], []];
  for (let corner = 0; corner < 8; corner++)
    apply(affine, shape.map((n, axis) => ((corner >> axis) & 1 ? n - 0.5 : -0.5))).forEach((mm, axis) => ends[axis].push(mm));
  const low = ends.map((mm) => Math.min(...mm)), high = ends.map((mm) => Math.max(...mm));
  const count = low.map((mm, axis) => Math.max(1, Math.ceil((high[axis] - mm) / spacing[axis] - 1e-3)));
  const rows = low.map((mm, axis) => [0, 1, 2].map((column) => (column === axis ? spacing[axis] : 0)).concat(mm + spacing[axis] / 2));
  return { shape: count, affine: [...rows, [0, 0, 0, 1]] };
}

// True where an axis leaves the volume's own by more than 1e-4 voxels over this shape.
function isOblique(there, along, shape) {
  if (new Set(along).size < 3 || along.includes(undefined)) return true;
  return along.some((main, row) => [0, 1, 2].reduce((sum, c) => sum + (c === main ? 0 : Math.abs(there[row][c]) * shape[c]), 0) > 1e-4);
}

const norm = (row) => Math.hypot(row[0], row[1], row[2]);
const apply = (m, [x, y, z]) => [0, 1, 2].map((r) => m[r][0] * x + m[r][1] * y + m[r][2] * z + m[r][3]);
const multiply = (a, b) => a.map((row) => [0, 1, 2, 3].map((c) => row.reduce((sum, value, k) => sum + value * b[k][c], 0)));

function inverse(m) {
  const d = determinant(m), at = (r, c) => m[r % 3][c % 3];
  const rows = [0, 1, 2].map((r) => [0, 1, 2].map((c) =>
    (at(c + 1, r + 1) * at(c + 2, r + 2) - at(c + 1, r + 2) * at(c + 2, r + 1)) / d));
  return [...rows.map((row) => [...row, -row.reduce((sum, value, k) => sum + value * m[k][3], 0)]), [0, 0, 0, 1]];
}
