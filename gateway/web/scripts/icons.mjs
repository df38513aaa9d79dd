// Draws the icons of the page: a socket of a patch bay with a cable in it. No picture program, no dependency: distances from
// shapes, four samples a pixel in each direction, and a PNG by hand (https://www.w3.org/TR/png-3/).
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";

const GROUND = [12, 61, 66];
const RING = [244, 239, 228];
const CABLE = [226, 112, 52];
const HOLE = [7, 32, 36];

/** The colour at a point of the unit square, or nothing where the icon is transparent. `inset` is the free edge. */
function colourAt(x, y, inset) {
  const isMaskable = inset > 0;
  if (!isMaskable && roundedSquare(x, y, 0.22) > 0) return undefined;
  const scale = 1 - inset * 2;
  const [u, v] = [(x - 0.5) / scale, (y - 0.5) / scale];
  const far = Math.hypot(u, v);
  if (far < 0.085) return CABLE;
  if (cable(u, v) < 0.052) return CABLE;
  if (far < 0.17) return HOLE;
  if (far < 0.235) return RING;
  if (far > 0.315 && far < 0.34) return RING;
  return GROUND;
}

/** Along the cable: from the socket down and to the right in a curve. */
const CURVE = Array.from({ length: 33 }, (_, n) => {
  const t = n / 32;
  const [middle, end] = [2 * t * (1 - t), t * t];
  return [middle * 0.02 + end * 0.6, middle * 0.5 + end * 0.42];
});

/** Distance to the cable, where it can be near. */
function cable(u, v) {
  if (u < -0.06 || v < -0.06) return 1;
  let least = 1;
  for (const [x, y] of CURVE) least = Math.min(least, (u - x) ** 2 + (v - y) ** 2);
  return Math.sqrt(least);
}

function roundedSquare(x, y, corner) {
  const [dx, dy] = [Math.abs(x - 0.5) - 0.5 + corner, Math.abs(y - 0.5) - 0.5 + corner];
  return Math.hypot(Math.max(dx, 0), Math.max(dy, 0)) + Math.min(Math.max(dx, dy), 0) - corner;
}

function draw(size, inset) {
  const rows = Buffer.alloc(size * (size * 4 + 1));
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) rows.set(pixel(x, y, size, inset), y * (size * 4 + 1) + 1 + x * 4);
  }
  return png(size, rows);
}

function pixel(x, y, size, inset) {
  const sum = [0, 0, 0, 0];
  for (let n = 0; n < 16; n++) {
    const colour = colourAt((x + (n % 4) / 4 + 0.125) / size, (y + Math.floor(n / 4) / 4 + 0.125) / size, inset);
    colour?.forEach((value, channel) => (sum[channel] += value));
    if (colour) sum[3] += 1;
  }
  const [red, green, blue, covered] = sum;
  return covered ? [red / covered, green / covered, blue / covered, (covered * 255) / 16].map(Math.round) : [0, 0, 0, 0];
}

function png(size, rows) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 6, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(rows, { level: 9 })), chunk("IEND", Buffer.alloc(0))]);
}

function chunk(type, content) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), content]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(content.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}

/** Writes them below `folder`. */
export function icons(folder) {
  mkdirSync(join(folder, "icons"), { recursive: true });
  writeFileSync(join(folder, "icons/192.png"), draw(192, 0));
  writeFileSync(join(folder, "icons/512.png"), draw(512, 0));
  writeFileSync(join(folder, "icons/maskable.png"), draw(512, 0.1));
}
