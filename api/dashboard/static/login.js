// A link `/login#skf_…` logs in by itself. What stands behind # never leaves the browser by itself, so no log of
// a server or proxy holds it; it is taken out of the address at once, so that no history does either.

const token = decodeURIComponent(location.hash.slice(1));
if (token.startsWith("skf_")) {
  history.replaceState(null, "", location.pathname + location.search);
  const form = document.getElementById("login");
  form.elements.token.value = token;
  form.requestSubmit();
}
