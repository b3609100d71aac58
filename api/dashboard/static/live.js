// Keeps a page as it is on the server: fetches it again when something has happened, and exchanges the parts that
// differ. What somebody is using (an open confirmation, a field being typed in) is left alone until it is done.

const main = document.querySelector("main[data-live]");
const lamp = document.getElementById("live");
const leastPause = 1500;
let every = 1000 * Number(main.dataset.every || 5);
let fetching = false;
let askedFor = false;
let lastAt = Date.now();
let events = null;
let ended = false;

function show(on, text) {
  lamp?.classList.toggle("on", on);
  if (lamp && lamp.textContent !== text) lamp.textContent = text;
}

function inUse(part) {
  if (part.querySelector("details.confirm[open], input:checked")) return true;
  const focused = document.activeElement;
  return part.contains(focused) && focused.matches("input, select, textarea");
}

function exchange(part, fresh) {
  if (part.innerHTML === fresh.innerHTML) return true;
  if (inUse(part)) return false;
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
  return true;
}

async function refresh() {
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
    let all = true;
    for (const part of document.querySelectorAll("[data-part]")) {
      const fresh = page.querySelector(`[data-part="${CSS.escape(part.dataset.part)}"]`);
      if (fresh) all = exchange(part, fresh) && all;
    }
    // What was in use comes again with the next answer.
    const freshMain = page.querySelector("main[data-live]");
    if (freshMain && all) main.dataset.seen = freshMain.dataset.seen ?? "";
    if (freshMain) takeUp(freshMain);
    document.title = page.title;
    show(!ended, ended ? "ended" : "live");
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

// The page as it is now says what to follow, and how often to ask: a replay wakes an ended job up again.
function takeUp(fresh) {
  every = 1000 * Number(fresh.dataset.every);
  if (fresh.dataset.live && ended) ended = false;
  main.dataset.live = fresh.dataset.live;
  follow();
}

// A browser has few connections to one server: a page that nobody looks at gives its own back.
function follow() {
  if (!main.dataset.live || ended || document.hidden || events) return;
  events = new EventSource(main.dataset.live);
  events.addEventListener("status", soon);
  events.addEventListener("entry", soon);
  events.addEventListener("end", () => {
    ended = true;
    leave();
    soon();
  });
  events.addEventListener("open", () => show(true, "live"));
  // It connects again by itself; where it gave up, the clock below goes on alone.
  events.addEventListener("error", () => show(false, "connecting"));
}

function leave() {
  events?.close();
  events = null;
}

follow();
setInterval(() => {
  if (!document.hidden && Date.now() - lastAt >= every) refresh();
}, 500);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    leave();
  } else {
    follow();
    soon();
  }
});
