// Reads a CT from a NIfTI file and writes labels beside it, in the browser: what lib/organseg/volumes.py does in Python.
// The header is read by nifti-reader-js; which of its positions counts is nibabel's rule.
import * as nifti from "./made/nifti/nifti.js";

const VOXELS = { 2: Uint8Array, 4: Int16Array, 8: Int32Array, 16: Float32Array, 64: Float64Array, 256: Int8Array,
  512: Uint16Array, 768: Uint32Array };
const EXPECTED = "expected a 3-D NIfTI image of one real number per voxel";
const LONGEST_HEADER = 544;
const NAMES = { 32: "complex numbers", 128: "colours", 1024: "64-bit integers", 1280: "64-bit integers", 1792: "complex numbers",
  2304: "colours" };
const MM = { 1: 1000, 3: 0.001 }; // metres and microns; everything else is taken for mm

// What the header says, before memory is taken for the voxels:
// {name, shape, affine (4 × 4, mm), kind, offset, slope, inter, littleEndian, bytes (of the voxels), header, doubts}.
export async function look(file) {
  const first = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const packed = first[0] === 0x1f && first[1] === 0x8b;
  const start = await readFrom(file, packed, LONGEST_HEADER, true);
  if (!nifti.isNIFTI(start.buffer))
    throw new Error(`${file.name}: found no NIfTI header; ${EXPECTED} in one file (.nii or .nii.gz)`);
  const two = nifti.isNIFTI2(start.buffer), alone = start.slice();
  alone.fill(0, two ? 540 : 348, two ? 544 : 352); // of extensions the reader would want all, and only the header is here
  const header = nifti.readHeader(alone.buffer);
  const dims = Array.from(header.dims), shape = dims.slice(1, 4), kind = VOXELS[header.datatypeCode];
  const fail = (found, advice) => {
    throw new Error(`${file.name}: found ${found}; ${EXPECTED}; ${advice}`);
  };
  if (dims[0] < 3 || Math.min(...shape) < 1) fail(`a shape of (${dims.slice(1, 1 + dims[0])})`, "export it again");
  if (dims.slice(4, 1 + dims[0]).some((n) => n > 1)) fail(`a series (${dims.slice(1, 1 + dims[0])})`, "save one volume of it");
  const code = header.datatypeCode;
  if (!kind) fail(`voxels that are ${NAMES[code] ?? `of type ${code}`}`, "save the CT itself as 16-bit integers");
  const doubts = [], affine = inMm(header, positionOf(header, start, two, doubts), doubts);
  if (!affine.flat().every(Number.isFinite) || Math.abs(determinant(affine)) < 1e-9)
    fail("a position that maps no volume", "export it again");
  const bytes = shape[0] * shape[1] * shape[2] * kind.BYTES_PER_ELEMENT;
  if (!packed && file.size < header.vox_offset + bytes)
    fail(`${file.size} bytes, where its header claims ${header.vox_offset + bytes}`, "fetch it again");
  if (packed && bytes > 1100 * file.size) fail(`${file.size} bytes, and a header that claims ${bytes}`, "fetch it again");
  const scaled = Number.isFinite(header.scl_slope) && header.scl_slope !== 0;
  return { name: file.name, shape, affine, kind, bytes, packed, doubts, two, header: start, offset: header.vox_offset,
    slope: scaled ? header.scl_slope : 1, inter: scaled ? header.scl_inter : 0, littleEndian: header.littleEndian };
}

// The voxels of a file that was looked at, x running fastest, as they are stored: HU are value × slope + inter.
export async function readVoxels(file, seen, progress) {
  const whole = await readFrom(file, seen.packed, seen.offset + seen.bytes, false, progress);
  const size = seen.kind.BYTES_PER_ELEMENT, bytes = whole.subarray(seen.offset);
  if (!seen.littleEndian && size > 1)
    for (let at = 0; at < bytes.length; at += size) bytes.subarray(at, at + size).reverse();
  return new seen.kind(seen.offset % size ? bytes.slice().buffer : whole.buffer, seen.offset % size ? 0 : seen.offset,
    bytes.length / size);
}

// A label image (uint8, x fastest) as .nii.gz, with the scan's own header: it lies where the scan lies, to the bit.
export async function write(labels, seen) {
  const length = seen.two ? 544 : 352, file = new Uint8Array(length + labels.length);
  file.set(seen.header.subarray(0, length));
  const view = new DataView(file.buffer), little = seen.littleEndian;
  const real = (at, value) => (seen.two ? view.setFloat64(at, value, little) : view.setFloat32(at, value, little));
  const at = seen.two ? { type: 12, dim: 16, offset: 168, slope: 176, limits: 192, text: 240, end: 540 }
    : { type: 70, dim: 40, offset: 108, slope: 112, limits: 124, text: 148, end: 348 };
  const dim = (n, value) => seen.two ? view.setBigInt64(at.dim + 8 * n, BigInt(value), little)
    : view.setInt16(at.dim + 2 * n, value, little);
  [3, ...seen.shape, 1, 1, 1, 1].forEach((value, n) => dim(n, value));
  view.setInt16(at.type, 2, little);
  view.setInt16(at.type + 2, 8, little);
  if (seen.two) view.setBigInt64(at.offset, 544n, little);
  else real(at.offset, 352);
  [1, 0].forEach((value, n) => real(at.slope + n * (seen.two ? 8 : 4), value));
  [0, 0].forEach((value, n) => real(at.limits + n * (seen.two ? 8 : 4), value));
  file.fill(0, at.text, at.text + 80);
  file.fill(0, at.end, length); // no extensions
  file.set(labels, length);
  return new Response(new Blob([file]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
}

// The first bytes of a file, unpacked: all of them, or with `atMost` fewer where the file ends.
async function readFrom(file, packed, length, atMost, progress) {
  const result = new Uint8Array(length);
  let read = 0, there = 0;
  const count = new TransformStream({ transform: (chunk, next) => { read += chunk.length; next.enqueue(chunk); } });
  let stream = file.stream().pipeThrough(count);
  if (packed) stream = stream.pipeThrough(new DecompressionStream("gzip"));
  const reader = stream.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const piece = part.value.subarray(0, length - there);
      result.set(piece, there);
      there += piece.length;
      progress?.(read / file.size);
      if (atMost && there === length) break;
    }
  } catch {
    throw new Error(`${file.name}: found damaged bytes; expected a whole .nii.gz file; export or fetch it again`);
  } finally {
    reader.cancel().catch(() => {});
  }
  if (there < length && !atMost)
    throw new Error(`${file.name}: found ${there} bytes of voxels, expected ${length}; export or fetch it again`);
  return result;
}

// As nibabel: the sform if it has a code, else the qform if it has one, else the voxel sizes alone.
function positionOf(header, bytes, two, doubts) {
  const [, dx, dy, dz] = header.pixDims;
  if (header.sform_code > 0) {
    const at = two ? 400 : 280, size = two ? 8 : 4, view = new DataView(bytes.buffer);
    const number = (n) => two ? view.getFloat64(at + size * n, header.littleEndian)
      : view.getFloat32(at + size * n, header.littleEndian);
    const rows = [0, 1, 2].map((row) => [0, 1, 2, 3].map((column) => number(4 * row + column)));
    return [...rows, [0, 0, 0, 1]];
  }
  if (header.qform_code > 0) return header.getQformMat();
  doubts.push("its header states no orientation; its axes are taken for LAS: see that left and right are where you expect them");
  const middle = [1, 2, 3].map((axis) => (header.dims[axis] - 1) / 2);
  return [[-dx, 0, 0, middle[0] * dx], [0, dy, 0, -middle[1] * dy], [0, 0, dz, -middle[2] * dz], [0, 0, 0, 1]];
}

function inMm(header, affine, doubts) {
  const unit = MM[header.xyzt_units & 7];
  if (!unit) return affine;
  const stated = spacingOf(affine).map((length) => unit * length);
  if (Math.min(...stated) < 0.05 || Math.max(...stated) > 50) {
    doubts.push("its header states another unit than mm, which makes impossible voxels; taken for mm instead");
    return affine;
  }
  doubts.push(`its header is not in mm; read as voxels of ${stated.map((n) => n.toPrecision(4)).join(" × ")} mm`);
  return affine.map((row, n) => (n < 3 ? row.map((value) => unit * value) : row));
}

// The voxel size in mm: the lengths of the affine's columns.
export const spacingOf = (affine) => [0, 1, 2].map((c) => Math.hypot(...[0, 1, 2].map((r) => affine[r][c])));

export function determinant(m) {
  return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
    + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}
