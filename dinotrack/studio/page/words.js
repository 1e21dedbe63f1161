// How the page puts counts, times and refusals into words.

/** A count and its word. */
export function counted(many, word) {
  const several = /(ch|sh|s|x)$/.test(word) ? `${word}es` : `${word}s`;
  return `${many.toLocaleString("en")} ${many === 1 ? word : several}`;
}

/** The time that something still takes. */
export function left(seconds) {
  if (seconds < 90) return `${Math.max(Math.round(seconds), 1)} s left`;
  return `${Math.round(seconds / 60)} min left`;
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** What the server said, as a whole sentence. */
export const sentence = (text) => capital(text) + (/[.?!]$/.test(text) ? "" : ".");
