// Small pictures of rows. They are fetched with the key, when they come near to what is seen of the page.
import { askPicture } from "./api.js";
import { make } from "./element.js";

const ids = new WeakMap(); // of the rows, by the elements
const near = new IntersectionObserver(seen => {
  for (const { target, isIntersecting } of seen) if (isIntersecting) load(target);
}, { rootMargin: "300px" });

// id, name: of a row. place: an element whose pictures are used again where they are of the same rows.
export function thumbnail(id, name, place) {
  const there = place && [...place.querySelectorAll("img.thumbnail")].find(one => ids.get(one) === id);
  if (there) return there;
  const made = make("img", { class: "thumbnail", alt: name, draggable: "false" });
  ids.set(made, id);
  near.observe(made);
  return made;
}

// What is taken from the page is waited for no more.
export function forget(place) {
  for (const one of place.querySelectorAll("img.thumbnail")) near.unobserve(one);
}

async function load(shown) {
  near.unobserve(shown);
  let address = "";
  const done = () => URL.revokeObjectURL(address), failed = () => {
    done();
    shown.classList.add("missing");
  };
  shown.addEventListener("load", done, { once: true });
  shown.addEventListener("error", failed, { once: true });
  try {
    address = URL.createObjectURL(await askPicture(`documents/${encodeURIComponent(ids.get(shown))}/picture`));
    shown.src = address;
  } catch {
    failed(); // the name says what it is
  }
}
