/** The bar at the top: what this is, which range, whether it is live. */

import { useEffect, useState } from "preact/hooks";
import { RANGES, type Range } from "../format/time";
import { useSelect, useStore } from "../state/store";
import { applyTheme, NEXT_THEME, savedTheme, type Theme } from "../state/theme";
import { ConnectionState } from "./connection";
import { Leave, Logo, Moon, Sun, System } from "./icons";

const THEME_ICON = { system: System, light: Sun, dark: Moon };

export function Header({ signOut }: { readonly signOut: () => void }) {
  const tenant = useSelect((state) => state.tenant);
  return (
    <header class="top">
      <div class="top-inner">
        <h1 class="brand">
          <Logo /> Headrace {tenant && <span class="tenant">{tenant}</span>}
        </h1>
        <div class="push">
          <ConnectionState />
        </div>
        <RangePicker />
        <div>
          <ThemeButton />
          <button type="button" class="icon-button" onClick={signOut} aria-label="Sign out" title="Sign out">
            <Leave />
          </button>
        </div>
      </div>
    </header>
  );
}

function RangePicker() {
  const range = useSelect((state) => state.range);
  const store = useStore();
  return (
    <div class="segmented" role="radiogroup" aria-label="Time range">
      {RANGES.map((item) => (
        <label key={item.id}>
          <input
            type="radio"
            name="range"
            value={item.id}
            checked={item.id === range}
            aria-label={`Last ${item.label}`}
            onChange={() => store.dispatch({ type: "range", range: item.id satisfies Range })}
          />
          <span>{item.id}</span>
        </label>
      ))}
    </div>
  );
}

function ThemeButton() {
  const [theme, setTheme] = useState<Theme>(savedTheme);
  useEffect(() => applyTheme(theme), [theme]);
  const Icon = THEME_ICON[theme];
  const label = `Theme: ${theme}. Switch to ${NEXT_THEME[theme]}.`;
  return (
    <button type="button" class="icon-button" onClick={() => setTheme(NEXT_THEME[theme])} aria-label={label} title={label}>
      <Icon />
    </button>
  );
}
