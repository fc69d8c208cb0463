/** The page of a signed-in person. Reading order is the order of urgency. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { cardIds } from "../state/metrics";
import { startLoader, type Loader } from "../state/loader";
import { initialState, reduce } from "../state/model";
import { createStore, StoreContext, useSelect } from "../state/store";
import { Alerts } from "./alerts";
import { Anomalies } from "./anomalies";
import { Attribution } from "./attribution";
import { Campaigns } from "./campaigns";
import { Churn } from "./churn";
import { Cohorts } from "./cohorts";
import { TroubleBanner } from "./connection";
import { Corrections } from "./corrections";
import { EventRate } from "./event_rate";
import { Freshness } from "./freshness";
import { Funnel } from "./funnel";
import { Header } from "./header";
import { Heatmap } from "./heatmap";
import { KpiCard } from "./kpi_card";
import { KpiTable } from "./kpis";
import { Ledger } from "./ledger";
import { ModelQuality } from "./model_quality";
import { Segments } from "./segments";

interface Props {
  readonly secret: string;
  /** Called with the reason; an empty one when the person asked for it. */
  readonly signedOut: (reason: string) => void;
}

export function Dashboard({ secret, signedOut }: Props) {
  const store = useMemo(() => createStore(initialState("24h"), reduce), [secret]);
  const [loader, setLoader] = useState<Loader | null>(null);
  useEffect(() => {
    const started = startLoader(secret, store, signedOut);
    setLoader(started);
    return started.close;
  }, [store]);
  if (!loader) return null;
  return (
    <StoreContext.Provider value={store}>
      <a class="skip" href="#main">
        Skip to the numbers
      </a>
      <Header signOut={() => signedOut("")} />
      <main class="main" id="main" tabIndex={-1}>
        <TroubleBanner retry={loader.retryNow} />
        <Cards />
        <EventRate />
        <Ledger />
        <Alerts api={loader.api} />
        <Anomalies />
        <Campaigns />
        <Churn api={loader.api} />
        <KpiTable />
        <Funnel />
        <Segments />
        <Cohorts />
        <Heatmap />
        <Attribution />
        <Corrections />
        <ModelQuality />
        <Freshness />
        <footer class="foot">
          <span>Times are your local time; events count in the minute they happened.</span>
          <a href="/docs">API reference</a>
        </footer>
      </main>
    </StoreContext.Provider>
  );
}

function Cards() {
  const dictionary = useSelect((state) => state.dictionary);
  return (
    <section class="cards" aria-label="Key metrics">
      {cardIds(dictionary).map((id) => (
        <KpiCard key={id} id={id} />
      ))}
    </section>
  );
}
