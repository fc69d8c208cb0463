/** A titled part of the page, and its states: not known yet, nothing to show, could not be read. */

import type { ComponentChildren, JSX } from "preact";
import { Check, Warning } from "./icons";

interface Props {
  readonly id: string;
  readonly title: string;
  readonly about?: ComponentChildren;
  readonly aside?: ComponentChildren;
  readonly span: 4 | 5 | 6 | 7 | 8 | 12;
  readonly error?: string | null;
  readonly children: ComponentChildren;
}

export function Panel({ id, title, about, aside, span, error, children }: Props): JSX.Element {
  return (
    <section id={id} class={`panel span-${span}`} aria-labelledby={`${id}-title`}>
      <header class="panel-head">
        <h2 id={`${id}-title`}>{title}</h2>
        {about && <p>{about}</p>}
        {aside && <div class="push">{aside}</div>}
      </header>
      {error && (
        <p class="note" role="status">
          {error}
        </p>
      )}
      <div class="panel-body">{children}</div>
    </section>
  );
}

export function Loading({ what }: { readonly what: string }) {
  return (
    <div class="loading">
      <i class="hidden-text">Loading {what}</i>
      <span />
      <span />
      <span />
    </div>
  );
}

interface EmptyProps {
  readonly title: string;
  readonly children?: ComponentChildren;
  /** Nothing to show is good news (no alerts) rather than a lack of data. */
  readonly good?: boolean;
}

export function Empty({ title, children, good = false }: EmptyProps) {
  return (
    <div class="empty">
      {good && (
        <span class="good">
          <Check />
        </span>
      )}
      <strong>{title}</strong>
      {children && <span>{children}</span>}
    </div>
  );
}

/** What stands in a panel whose first read failed, and why. */
export function Unread({ what, why }: { readonly what: string; readonly why: string }) {
  return (
    <div class="empty">
      <span class="warn">
        <Warning />
      </span>
      <strong>No {what} to show</strong>
      <span>{why} Trying again.</span>
    </div>
  );
}
