// Photos as this page knows them: what a chosen file is, how large, and a small picture of it.

import { blob } from "./api.js";

const THUMB = 168;       // pixels on its longer side
const KEPT = 8;          // photos whose full pictures are kept at hand

// state: new, waiting (for its turn), working, done, failed; `from` is where the server has the picture, `asked` what is
// or was asked for, `ran` what the results came from.
export function photoOf(name, file = null) {
  return {
    name, file, width: 0, height: 0, thumb: null, before: null, state: "new", job: null, input: 0, from: null, asked: null, ran: null,
    mask: [],  // strokes, see brush.js
    plan: null, progress: 0, results: [], error: null, note: "", map: null, stability: null,
  };
}

// Why a file cannot be a photo, or nothing: said at once, and not after minutes of sending.
export async function trouble(file, limits) {
  if (!file.size) return "is empty";
  if (file.size > limits.max_megabytes * 1e6) return `is ${Math.ceil(file.size / 1e6)} MB large; this server takes ${limits.max_megabytes} MB`;
  const head = new Uint8Array(await file.slice(0, 512).arrayBuffer());
  const start = String.fromCharCode(...head.slice(0, 12));
  if (start.slice(4, 8) === "ftyp" && /^(hei|hev|mif1|msf1)/.test(start.slice(8)) && !limits.heic) {
    return "is a HEIC photo, which is not read here. Save it as JPEG first; phones offer that when they share it.";
  }
  const isText = head.every((byte) => byte >= 32 || (byte >= 9 && byte <= 13));
  return isText && !/^P[1-7]\s/.test(start) ? "is a text and no picture" : null;
}

// Finds out the size and makes a small picture; a format that this browser does not know stays without both.
export async function look(photo) {
  const address = URL.createObjectURL(photo.file);
  const picture = new Image();
  const loaded = new Promise((yes, no) => { picture.onload = yes; picture.onerror = no; });
  picture.src = address;
  try {
    await loaded;  // its header is read, no pixel yet
  } catch {
    URL.revokeObjectURL(address);
    Object.assign(photo, await sizeOfTiff(photo.file));
    return;
  }
  Object.assign(photo, { before: address, width: picture.naturalWidth, height: picture.naturalHeight });
}

export async function shrink(photo, source = photo.file) {
  const scale = THUMB / Math.max(photo.width, photo.height, THUMB);
  const size = { resizeWidth: Math.max(1, Math.round(photo.width * scale)), resizeHeight: Math.max(1, Math.round(photo.height * scale)) };
  let bitmap;
  try {
    bitmap = await createImageBitmap(source, { ...size, resizeQuality: "medium" });
  } catch {
    return;
  }
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  photo.thumb = await new Promise((made) => canvas.toBlob((small) => made(small && URL.createObjectURL(small))));
}

// Browsers do not show TIFF; its first directory has the size.
async function sizeOfTiff(file) {
  const read = async (at, count) => new DataView(await file.slice(at, at + count).arrayBuffer());
  try {
    const head = await read(0, 8);
    const little = head.getUint16(0) === 0x4949;
    if ((!little && head.getUint16(0) !== 0x4d4d) || head.getUint16(2, little) !== 42) return {};
    const at = head.getUint32(4, little);
    const count = (await read(at, 2)).getUint16(0, little);
    const entries = await read(at + 2, 12 * count);
    const value = (tag) => {
      for (let i = 0; i < 12 * count; i += 12) {
        if (entries.getUint16(i, little) !== tag) continue;
        return entries.getUint16(i + 2, little) === 3 ? entries.getUint16(i + 8, little) : entries.getUint32(i + 8, little);
      }
      return 0;
    };
    const turned = value(274) >= 5;
    const [width, height] = turned ? [value(257), value(256)] : [value(256), value(257)];
    return width && height ? { width, height } : {};
  } catch {
    return {};
  }
}

// Has the full pictures of the photo that is looked at in the browser, and lets go of those looked at long ago.
const recent = [];
export async function have(photo) {
  if (!photo.before && photo.from && photo.state !== "failed" && (photo.results.length || !photo.file)) {
    const picture = await blob(inputOf(photo));
    photo.before = URL.createObjectURL(picture);
    if (!photo.thumb && photo.width) await shrink(photo, picture);
  }
  for (const result of photo.results) result.url ??= URL.createObjectURL(await blob(result.shown));
  if (photo.stability && !photo.map) photo.map = URL.createObjectURL(await blob(photo.stability.address));
  if (recent.includes(photo)) recent.splice(recent.indexOf(photo), 1);
  recent.push(photo);
  while (recent.length > KEPT) letGo(recent.shift());
}

// Has the maps of where these results depart from the photo; the server makes them when they are asked for.
export async function haveDifference(photo) {
  for (const result of photo.results) result.map ??= URL.createObjectURL(await blob(result.difference));
}

export function inputOf(photo) { return `/v1/jobs/${photo.from.job}/input?index=${photo.from.input}`; }

function letGo(photo) {
  for (const result of photo.results) {
    for (const kind of ["url", "map"]) {
      if (result[kind]) URL.revokeObjectURL(result[kind]);
      result[kind] = null;
    }
  }
  if (photo.map) URL.revokeObjectURL(photo.map);
  photo.map = null;
  if (photo.before && !photo.file) {
    URL.revokeObjectURL(photo.before);
    photo.before = null;
  }
}
