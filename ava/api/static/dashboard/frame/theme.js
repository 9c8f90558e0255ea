// Light or dark: as the browser prefers, until one is chosen.

const THEME = "ava.theme";
const root = document.documentElement;

/** Apply what was chosen last. */
export function applyTheme() {
  const chosen = localStorage.getItem(THEME);
  if (chosen) root.dataset.theme = chosen;
}

/** Change from light to dark, or back. */
export function toggleTheme() {
  const prefersDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : prefersDark;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem(THEME, root.dataset.theme);
}
