// Keeps a page as it is on the server: fetches it again when something has happened, and exchanges the parts that
// differ. What somebody is using (an open confirmation, a field being typed in) is left alone until it is done.

const main = document.querySelector("main[data-live]");
const lamp = document.getElementById("live");
const every = 1000 * Number(main.dataset.every || 5);
const leastPause = 1000;
let fetching = false;
let askedFor = false;
let lastAt = 0;
let ended = false;

function show(on, text) {
  lamp?.classList.toggle("on", on);
  if (lamp && lamp.textContent !== text) lamp.textContent = text;
}

function inUse(part) {
  if (part.querySelector("details.confirm[open], [aria-busy='true']")) return true;
  const focused = document.activeElement;
  return part.contains(focused) && focused.matches("input, select, textarea");
}

function exchange(part, fresh) {
  if (part.innerHTML === fresh.innerHTML || inUse(part)) return;
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const opened = [...part.querySelectorAll("details[open][id]")].map((details) => details.id);
  part.replaceChildren(...fresh.childNodes);
  for (const id of opened) {
    const details = document.getElementById(id);
    if (details) details.open = true;
  }
  if (focused) {
    const again = focused.id ? document.getElementById(focused.id) : null;
    (again ?? part.closest("[tabindex]") ?? main).focus({ preventScroll: true });
  }
}

export async function refresh() {
  if (fetching) {
    askedFor = true;
    return;
  }
  fetching = true;
  askedFor = false;
  lastAt = Date.now();
  const address = new URL(location.href);
  address.hash = "";
  address.searchParams.set("live", main.dataset.seen || "1");
  try {
    const answer = await fetch(address, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.redirected && new URL(answer.url).pathname === "/login") {
      location.reload();
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-part]")) {
      const fresh = page.querySelector(`[data-part="${CSS.escape(part.dataset.part)}"]`);
      if (fresh) exchange(part, fresh);
    }
    const freshMain = page.querySelector("main[data-live]");
    if (freshMain) main.dataset.seen = freshMain.dataset.seen ?? "";
    document.title = page.title;
    if (!ended) show(true, "live");
    document.dispatchEvent(new CustomEvent("skyfill:refreshed"));
  } catch {
    show(false, "no answer, trying again");
  } finally {
    fetching = false;
    if (askedFor) soon();
  }
}

let planned = null;
function soon() {
  if (planned !== null || document.hidden) return;
  planned = setTimeout(() => {
    planned = null;
    refresh();
  }, Math.max(0, lastAt + leastPause - Date.now()));
}

function follow(address) {
  const events = new EventSource(address);
  events.addEventListener("status", soon);
  events.addEventListener("entry", soon);
  events.addEventListener("end", () => {
    ended = true;
    events.close();
    soon();
    show(false, "ended");
  });
  events.addEventListener("open", () => show(true, "live"));
  // It connects again by itself; where it gave up, the clock below goes on alone.
  events.addEventListener("error", () => show(false, "connecting"));
}

if (main.dataset.live) follow(main.dataset.live);
setInterval(() => {
  if (!document.hidden && !ended && Date.now() - lastAt >= every) refresh();
}, 1000);
document.addEventListener("visibilitychange", soon);
