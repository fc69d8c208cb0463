/** Asks for a secret key and tries it before it is kept. */

import type { TargetedSubmitEvent } from "preact";
import { useState } from "preact/hooks";
import { api } from "../api/client";
import { Logo, Warning } from "./icons";

interface Props {
  /** Why the person has to sign in again; empty the first time. */
  readonly reason: string;
  readonly accept: (key: string) => void;
}

export function SignIn({ reason, accept }: Props) {
  const [fault, setFault] = useState(reason);
  const [busy, setBusy] = useState(false);

  async function submit(event: TargetedSubmitEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault();
    const key = String(new FormData(event.currentTarget).get("key") ?? "").trim();
    if (key === "") return setFault("Enter a secret key.");
    setBusy(true);
    try {
      await api(key).dictionary();
      accept(key);
    } catch (error) {
      setFault(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  }

  return (
    <main class="sign-in">
      <form onSubmit={(event) => void submit(event)}>
        <h1 class="brand">
          <Logo /> Headrace
        </h1>
        <p>Live metrics, predictions and alerts from your event stream.</p>
        {fault !== "" && (
          <div class="fault" role="alert" id="fault">
            <Warning />
            <span>{fault}</span>
          </div>
        )}
        <label>
          Secret key
          <input name="key" type="password" autoComplete="off" spellcheck={false} autoFocus aria-describedby="where" />
        </label>
        <button class="button primary" type="submit" disabled={busy}>
          {busy ? "Checking…" : "Open the dashboard"}
        </button>
        <small id="where">
          Make one with <code>headrace keys create</code>. It stays in this browser tab and is forgotten when the tab closes.
        </small>
      </form>
    </main>
  );
}
