// Figures and the server's lines as people say them.

export function spoken(seconds) {
  if (seconds < 1.5) return "about a second";
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  const hours = Math.round(seconds / 1800) / 2;
  return hours < 48 ? `about ${String(hours).replace(".5", "½").replace(/^0½/, "½")} hours` : `about ${Math.round(hours / 24)} days`;
}

export function megapixels(width, height) {
  const value = (width * height) / 1e6;
  return `${value < 0.095 ? value.toFixed(2) : value < 9.95 ? value.toFixed(1) : Math.round(value)} MP`;
}

export function times(scale) { return `${Math.round(scale * 100) / 100}×`; }

export function ago(when) {
  const minutes = Math.round((Date.now() - when) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  return minutes < 36 * 60 ? `${Math.round(minutes / 60)} h ago` : `${Math.round(minutes / 1440)} days ago`;
}

// The server's lines are those of the command line: here a flag is called as its control is.
export function plain(line, schema) {
  return line.replace(/--([a-z-]+)/gi, (flag) => {
    const known = Object.values(schema?.properties ?? {}).find((option) => option["x-flag"] === flag);
    return known ? `“${known["x-label"]}”` : flag.slice(2).replaceAll("-", " ");
  });
}

// How much several results of a photo differ, by the mean of their deviation in 0..1.
export function steadiness(mean) {
  const levels = mean * 255;
  if (levels < 0.5) return "The results hardly differ anywhere.";
  if (levels < 2) return "The results differ a little, in fine detail.";
  return levels < 6 ? "The results differ where the photo leaves room." : "The results differ a lot.";
}

// How true a result is to its photo: both of the photo's size, compared.
export function truth({ psnr, largest }) {
  if (largest <= 2) return "Made small again, it is the photo.";
  if (psnr >= 40) return "Made small again, it hardly differs from the photo.";
  if (psnr >= 32) return "Made small again, it differs a little from the photo.";
  return psnr >= 26 ? "Made small again, it differs from the photo." : "Made small again, it differs a lot from the photo.";
}

export function made(kind, settings = {}, ...children) {
  const { dataset, ...rest } = settings;
  const element = Object.assign(document.createElement(kind), rest);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}
