// The colours of style.css for what is painted on a canvas, looked up again only when the theme changes.

const NAMES = ["card", "ink", "faint", "line", "video", "audio", "text", "other", "answer", "answer-soft", "warn", "hatch"];
const TILE_PX = 7;
const dark = matchMedia("(prefers-color-scheme: dark)");
let known = null;

/** The colours of the theme that holds now, by the names of style.css, and the font of names. */
export function ink() {
  const theme = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  if (known?.theme !== theme) {
    const style = getComputedStyle(document.documentElement);
    known = { theme, font: `600 11.5px ${getComputedStyle(document.body).fontFamily}`, tiles: new Map() };
    for (const name of NAMES) known[name] = style.getPropertyValue(`--${name}`).trim();
  }
  return known;
}

/** Slanting lines of a colour, as a pattern that starts at a place: what moves along takes its lines with it. */
export function slanted(pen, colour, widthPx, startPx, scale) {
  const { tiles } = ink();
  const key = `${colour} ${widthPx} ${scale}`;
  if (!tiles.has(key)) tiles.set(key, pen.createPattern(tile(colour, widthPx, scale), "repeat"));
  const pattern = tiles.get(key);
  pattern.setTransform(new DOMMatrix([1 / scale, 0, 0, 1 / scale, startPx % TILE_PX, 0]));
  return pattern;
}

function tile(colour, widthPx, scale) {
  const size = Math.round(TILE_PX * scale);
  const made = new OffscreenCanvas(size, size);
  const pen = made.getContext("2d");
  pen.strokeStyle = colour;
  pen.lineWidth = widthPx * scale;
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift - size, 2 * size);
    pen.lineTo(shift + 2 * size, -size);
  }
  pen.stroke();
  return made;
}
