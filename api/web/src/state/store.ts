/** A store of one value that components watch through a selector. */

import { createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import type { Action, State } from "./model";

export interface Store {
  get(): State;
  dispatch(action: Action): void;
  watch(listener: () => void): () => void;
}

export function createStore(initial: State, reduce: (state: State, action: Action) => State): Store {
  let state = initial;
  const listeners = new Set<() => void>();
  return {
    get: () => state,
    dispatch(action) {
      const next = reduce(state, action);
      if (next === state) return;
      state = next;
      for (const listener of [...listeners]) listener();
    },
    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export const StoreContext = createContext<Store | null>(null);

export function useStore(): Store {
  const store = useContext(StoreContext);
  if (!store) throw new Error("no store above this component");
  return store;
}

/** The selected part of the state; the component renders again only when that part is another object or value. */
export function useSelect<T>(select: (state: State) => T): T {
  const store = useStore();
  const latest = useRef(select);
  latest.current = select;
  const [, redraw] = useState(0);
  const shown = select(store.get());
  const last = useRef(shown);
  last.current = shown;
  useEffect(() => {
    const check = (): void => {
      if (latest.current(store.get()) !== last.current) redraw((n) => n + 1);
    };
    check();
    return store.watch(check);
  }, [store]);
  return shown;
}
