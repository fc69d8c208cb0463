/** Light, dark, or what the system says. Kept in localStorage. */

import { guarded } from "./session";

export type Theme = "system" | "light" | "dark";

const KEY = "headrace.theme";

export function savedTheme(): Theme {
  const saved = guarded(() => localStorage.getItem(KEY));
  return saved === "light" || saved === "dark" ? saved : "system";
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  guarded(() => (theme === "system" ? localStorage.removeItem(KEY) : localStorage.setItem(KEY, theme)));
}

export const NEXT_THEME: Readonly<Record<Theme, Theme>> = { system: "light", light: "dark", dark: "system" };
