// Jobs that this browser has started, by the ids that it alone knows; the server keeps their results for a while.

const PLACE = "ccsr-recent";
const MOST = 12;

export function known(keepHours) {
  try {
    return JSON.parse(localStorage.getItem(PLACE) ?? "[]").filter((one) => Date.now() - one.when < keepHours * 3600_000);
  } catch {
    return [];
  }
}

// Keeps the jobs of these photos as one entry, in place of those that it grew from.
export function remember(photos, keepHours) {
  const ids = idsOf(photos);
  if (!ids.length) return;
  const names = photos.filter((photo) => photo.job || photo.results.length).map((photo) => photo.name);
  const others = known(keepHours).filter((one) => !one.ids.every((id) => ids.includes(id)));
  write([{ ids, names: names.slice(0, 3), count: names.length, when: Date.now() }, ...others].slice(0, MOST));
}

export function forget(ids, keepHours) { write(known(keepHours).filter((one) => !one.ids.some((id) => ids.includes(id)))); }

// The jobs whose results are shown, or that are at work.
export function idsOf(photos) {
  return [...new Set(photos.flatMap((photo) => [...photo.results.map((result) => result.job), photo.job]).filter(Boolean))];
}

function write(entries) {
  try {
    localStorage.setItem(PLACE, JSON.stringify(entries));
  } catch { /* a browser that keeps nothing has no list */ }
}
