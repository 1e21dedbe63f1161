// Things that every canvas of the page needs.

const waiting = new Map();

/** Calls a painter before the next picture of the screen, once however often it is asked for. */
export function soon(painter) {
  if (waiting.has(painter)) return;
  waiting.set(painter, requestAnimationFrame(() => {
    waiting.delete(painter);
    painter();
  }));
}

/** A canvas made as fine as the screen is, cleared; returns what draws on it, in CSS pixels. */
export function fresh(canvas) {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [pen, width, height];
}

export const FONT = '"Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", sans-serif';

/** Steps of 1, 2 or 5 times a power of ten, so that at most so many are in a range. */
export function niceStep(range, most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(range / most, 1e-9)));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => range / step <= most) ?? 10 * power;
}
