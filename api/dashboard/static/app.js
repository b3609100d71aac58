// What every page has: local times on hover, the switch between light and dark, and confirmations that close.
// All of it is comfort: without script the pages read and work the same.

function localTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.valueOf())) {
      time.title = `${moment.toLocaleString()} here; shown in UTC`;
    }
  }
}

function themeSwitch() {
  const form = document.getElementById("theme");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const next = dark ? "light" : "dark";
    root.dataset.theme = next;
    form.elements.theme.value = dark ? "dark" : "light";
    document.cookie = `skyfill_theme=${next}; Path=/; Max-Age=31536000; SameSite=Strict`;
    document.dispatchEvent(new CustomEvent("skyfill:theme"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new CustomEvent("skyfill:theme"));
  });
}

function closingConfirmations() {
  const open = () => document.querySelectorAll("details.confirm[open]");
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const details of open()) {
      details.open = false;
      details.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", (event) => {
    for (const details of open()) {
      if (!details.contains(event.target)) details.open = false;
    }
  });
}

function filtersThatSubmit() {
  for (const select of document.querySelectorAll("form[data-filter] select")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
}

localTimes();
document.addEventListener("skyfill:refreshed", () => localTimes());
themeSwitch();
closingConfirmations();
filtersThatSubmit();
