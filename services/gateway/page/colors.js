// The colours of style.css for the canvas. They are looked up again only when the theme changes.

const NAMES = ["card", "ink", "faint", "line", "video", "audio", "text", "other", "prediction", "prediction-soft", "warn", "hatch"];
const TILE_PX = 7;
const dark = matchMedia("(prefers-color-scheme: dark)");
let cached = null;

/** The colours of the current theme, by their names in style.css, and the font of labels. */
export function colors() {
  const theme = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  if (cached?.theme !== theme) {
    const style = getComputedStyle(document.documentElement);
    cached = { theme, font: `600 11.5px ${getComputedStyle(document.body).fontFamily}`, tiles: new Map() };
    for (const name of NAMES) cached[name] = style.getPropertyValue(`--${name}`).trim();
  }
  return cached;
}

/** A pattern of slanting lines. It starts at `startPx`, so that the lines move along with what they fill. */
export function hatching(context, color, lineWidthPx, startPx, scale) {
  const { tiles } = colors();
  const key = `${color} ${lineWidthPx} ${scale}`;
  if (!tiles.has(key)) tiles.set(key, context.createPattern(tile(color, lineWidthPx, scale), "repeat"));
  const pattern = tiles.get(key);
  pattern.setTransform(new DOMMatrix([1 / scale, 0, 0, 1 / scale, startPx % TILE_PX, 0]));
  return pattern;
}

function tile(color, lineWidthPx, scale) {
  const size = Math.round(TILE_PX * scale);
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d");
  context.strokeStyle = color;
  context.lineWidth = lineWidthPx * scale;
  for (const shift of [-size, 0, size]) {
    context.moveTo(shift - size, 2 * size);
    context.lineTo(shift + 2 * size, -size);
  }
  context.stroke();
  return canvas;
}
