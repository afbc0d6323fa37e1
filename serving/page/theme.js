// Light or dark: the system's choice, until the visitor makes another. Runs before the first paint.

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    try {
      return localStorage.getItem("trainyard-theme");
    } catch {
      return null; // a browser that keeps nothing
    }
  };
  const store = (theme) => {
    try {
      if (theme) localStorage.setItem("trainyard-theme", theme);
      else localStorage.removeItem("trainyard-theme");
    } catch {
      // it holds until the page is left
    }
  };
  const now = () => root.dataset.theme ?? (system.matches ? "dark" : "light");
  const other = () => (now() === "dark" ? "light" : "dark");
  const choose = (theme) => {
    const own = theme === (system.matches ? "dark" : "light");
    if (own) delete root.dataset.theme;
    else root.dataset.theme = theme;
    store(own ? null : theme);
  };

  const chosen = stored();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => button.setAttribute("aria-label", `Use the ${other()} theme`);
    button.addEventListener("click", () => {
      choose(other());
      label();
    });
    system.addEventListener("change", label);
    label();
  });
})();
