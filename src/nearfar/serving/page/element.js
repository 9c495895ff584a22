// Elements, made of texts and other elements: nothing that comes from data is ever read as HTML.
export const $ = id => document.getElementById(id);

// settings: attributes by name (true and false as with hidden), and `on`, listeners by event.
export function make(tag, settings = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, String(value));
  }
  made.append(...children.flat().filter(child => child != null).map(child => child instanceof Node ? child : String(child)));
  return made;
}
export const button = (label, click, settings = {}) => make("button", { type: "button", ...settings, on: { click } }, label);
export const number = (value, digits) =>
  digits == null ? value.toLocaleString("en") : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const counted = (count, one, many = one + "s") => `${number(count)} ${count === 1 ? one : many}`;
export const percent = share => `${number(100 * share, share >= 0.0995 || share === 0 ? 0 : 1)} %`;
