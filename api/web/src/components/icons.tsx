/** Line icons on a 16-pixel grid. Decorative: the words beside them say the same. */

import type { ComponentChildren } from "preact";

function icon(children: ComponentChildren, filled = false) {
  return () => (
    <svg
      viewBox="0 0 16 16"
      aria-hidden="true"
      fill={filled ? "currentColor" : "none"}
      stroke={filled ? "none" : "currentColor"}
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
    >
      {children}
    </svg>
  );
}

export const Check = icon(<path d="M3 8.5 6.5 12 13 4.5" />);
export const Cross = icon(<path d="m4 4 8 8M12 4l-8 8" />);
export const Info = icon(
  <>
    <circle cx="8" cy="8" r="6.2" />
    <path d="M8 7.4v3.6M8 5v.01" />
  </>,
);
export const Warning = icon(
  <>
    <path d="M8 2.2 14.5 13.5h-13z" />
    <path d="M8 6.5v3M8 11.5v.01" />
  </>,
);
export const Up = icon(<path d="M8 3 14 12H2z" />, true);
export const Down = icon(<path d="M8 13 2 4h12z" />, true);
export const Flat = icon(<path d="M3 8h10" />);
export const Sun = icon(
  <>
    <circle cx="8" cy="8" r="2.8" />
    <path d="M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9" />
  </>,
);
export const Moon = icon(<path d="M13.5 9.8A6 6 0 0 1 6.2 2.5a6 6 0 1 0 7.3 7.3z" />);
export const System = icon(
  <>
    <rect x="1.8" y="2.8" width="12.4" height="8.4" rx="1.4" />
    <path d="M5.5 13.7h5" />
  </>,
);
export const Leave = icon(<path d="M6.5 2.5h-3a1 1 0 0 0-1 1v9a1 1 0 0 0 1 1h3M10.5 11 13.5 8l-3-3M13.3 8H6.5" />);
export const Chevron = icon(<path d="m6 3.5 4.5 4.5L6 12.5" />);

export function Logo() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#0b6b84" />
      <g fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round">
        <path d="M5 10c3.6 0 3.6 2.6 7.2 2.6S15.8 10 19.4 10 23 12.6 27 12.6" />
        <path d="M5 16.5c3.6 0 3.6 2.6 7.2 2.6s3.6-2.6 7.2-2.6S23 19.1 27 19.1" opacity=".75" />
        <path d="M5 23c3.6 0 3.6 2.6 7.2 2.6S15.8 23 19.4 23" opacity=".5" />
      </g>
    </svg>
  );
}
