// A picture as the query: chosen, dropped or pasted. It is no part of the address.
import { $ } from "./element.js";

const SIDE = 72; // of the preview
let base64 = null;

export const picture = () => base64;

// changed: is called when there is another picture, or none.
export function acceptPictures(changed) {
  $("pick").hidden = false;
  $("pick").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => take($("file").files[0], changed));
  $("unpick").addEventListener("click", () => drop(changed));
  addEventListener("dragover", event => event.preventDefault());
  addEventListener("drop", event => {
    event.preventDefault();
    take(event.dataTransfer?.files[0], changed);
  });
  addEventListener("paste", event => take(event.clipboardData?.files[0], changed));
}

export function drop(changed) {
  base64 = null;
  $("file").value = "";
  $("preview").hidden = $("unpick").hidden = true;
  changed();
}

async function take(file, changed) {
  if (!file) return;
  const bytes = new Uint8Array(await file.arrayBuffer());
  let letters = "";
  for (let at = 0; at < bytes.length; at += 0x8000) letters += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  base64 = btoa(letters);
  $("unpick").hidden = false;
  $("preview").hidden = !(await draw(file));
  changed();
}

async function draw(file) {
  const shown = await createImageBitmap(file).catch(() => null); // the server says what is wrong with it
  if (!shown) return false;
  const context = $("preview").getContext("2d"), scale = SIDE / Math.max(shown.width, shown.height);
  context.clearRect(0, 0, SIDE, SIDE);
  context.drawImage(shown, (SIDE - shown.width * scale) / 2, (SIDE - shown.height * scale) / 2, shown.width * scale, shown.height * scale);
  return true;
}
