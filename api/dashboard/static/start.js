// The form that starts a backfill: says what is wrong while one types, and shows the dry run on request.
// The server checks and translates; this only asks it and shows the answer.

const form = document.getElementById("start");
const said = document.getElementById("verdict");
const preview = document.getElementById("preview");
const plan = document.getElementById("plan");
const touched = new Set();
let asked = 0;
let waiting = null;

function inputsOf(name) {
  const found = form.elements[name];
  if (!found) return [];
  return found instanceof RadioNodeList ? [...found] : [found];
}

function mark(mistakes) {
  for (const place of form.querySelectorAll(".wrong[data-for]")) {
    const name = place.dataset.for;
    const text = mistakes.filter((one) => one.field === name).map((one) => one.message).join(" ");
    const shown = touched.has(name) || form.dataset.all ? text : "";
    if (place.textContent !== shown) place.textContent = shown;
    for (const input of inputsOf(name)) {
      if (shown) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  }
}

function list(mistakes) {
  const all = document.getElementById("mistakes");
  const shown = mistakes.filter((one) => !one.field || form.elements.document);
  all.replaceChildren(
    ...shown.map((one) => {
      const item = document.createElement("li");
      const where = one.line ? `line ${one.line}: ` : "";
      item.textContent = `${where}${one.key ? `${one.key}: ` : ""}${one.message}`;
      return item;
    }),
  );
  all.parentElement.hidden = shown.length === 0 || !(touched.size || form.dataset.all);
}

async function check() {
  const number = ++asked;
  said.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch("/start/check", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (number !== asked) return; // a later one is on its way
    if (!answer.ok) throw new Error(answer.status === 401 ? "you are logged out" : `the server answered ${answer.status}`);
    const { valid, errors, yaml } = await answer.json();
    if (preview && yaml) preview.textContent = yaml;
    mark(errors);
    list(errors);
    const count = errors.length === 1 ? "1 thing is" : `${errors.length} things are`;
    said.textContent = valid ? "This can be started." : `${count} missing or wrong.`;
    said.className = valid ? "good" : "bad";
  } catch (error) {
    if (number !== asked) return;
    said.textContent = `It could not be checked: ${error.message}.`;
    said.className = "bad";
  } finally {
    if (number === asked) said.removeAttribute("aria-busy");
  }
}

function soon(event) {
  if (event.target.name) touched.add(event.target.name);
  clearTimeout(waiting);
  waiting = setTimeout(check, 350);
}

async function dryRun(button) {
  form.dataset.all = "yes";
  button.disabled = true;
  plan.setAttribute("aria-busy", "true");
  plan.hidden = false;
  plan.textContent = "Counting accounts and asking for a sample of them. This takes some seconds.";
  try {
    const answer = await fetch("/start/plan", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    plan.replaceChildren(...page.body.childNodes);
  } catch (error) {
    plan.textContent = `There was no answer: ${error.message}.`;
  } finally {
    plan.removeAttribute("aria-busy");
    button.disabled = false;
    check();
  }
}

form.addEventListener("input", soon);
form.addEventListener("change", soon);
form.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (button?.value === "plan") {
    event.preventDefault();
    dryRun(button);
  }
});
check();
