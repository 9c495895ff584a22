// Questions to this server. A key, where it asks for one, is kept in the tab and goes into a header.
import { $ } from "./element.js";

const KEPT = "nearfar-key";
let asking = null; // the promise of a key, while the dialog is open

export class ServerError extends Error {
  constructor(status, facts) {
    super(facts?.message || `the server answered ${status}`);
    this.status = status;
    this.code = facts?.code;
  }
}

// body: what is sent as JSON. Errors: ServerError; an AbortError where signal says so.
export async function ask(path, body, signal, method = body ? "POST" : "GET") {
  const answer = await answered(path, body, signal, method), facts = await answer.json().catch(() => null);
  if (!answer.ok) throw new ServerError(answer.status, facts?.error);
  return facts;
}

// The bytes of a picture. Errors: ServerError.
export async function askPicture(path) {
  const answer = await answered(path, undefined, undefined, "GET");
  if (!answer.ok) throw new ServerError(answer.status);
  return answer.blob();
}

async function answered(path, body, signal, method) {
  for (;;) {
    const key = sessionStorage.getItem(KEPT), headers = {};
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body) headers["Content-Type"] = "application/json";
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
    if (answer.status !== 401) return answer;
    await keyFor(key);
  }
}

function keyFor(refused) {
  if (refused !== sessionStorage.getItem(KEPT)) return Promise.resolve(); // another question has brought a new one
  if (asking) return asking;
  const dialog = $("key-dialog");
  if (refused) $("key-note").textContent = "The server does not know that key.";
  asking = new Promise(resolve => {
    $("key-form").addEventListener("submit", event => {
      event.preventDefault();
      sessionStorage.setItem(KEPT, $("key").value.trim());
      $("key").value = "";
      dialog.close();
    }, { once: true });
    dialog.addEventListener("close", () => {
      asking = null;
      resolve();
    }, { once: true });
  });
  dialog.showModal();
  return asking;
}
