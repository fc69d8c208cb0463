/** The start: a key from the address or this tab's storage opens the dashboard, otherwise it is asked for. */

import { render } from "preact";
import { useState } from "preact/hooks";
import { Dashboard } from "./components/dashboard";
import { SignIn } from "./components/sign_in";
import { forgetKey, saveKey, takeKey } from "./state/session";
import { applyTheme, savedTheme } from "./state/theme";

function App() {
  const [key, setKey] = useState(takeKey);
  const [reason, setReason] = useState("");
  if (key === null) {
    const accept = (given: string): void => {
      saveKey(given);
      setReason("");
      setKey(given);
    };
    return <SignIn reason={reason} accept={accept} />;
  }
  const signedOut = (why: string): void => {
    forgetKey();
    setReason(why);
    setKey(null);
  };
  return <Dashboard secret={key} signedOut={signedOut} />;
}

applyTheme(savedTheme());
const root = document.getElementById("app");
if (root) render(<App />, root);
