/** The live stream: server-sent events over fetch, so that the key travels in a header and never in an address. */

import { backoffDelay } from "./backoff";
import { BASE, problemMessage } from "./client";
import { sseParser, type SseMessage } from "./sse";

export type Phase = "connecting" | "live" | "waiting" | "refused";

export interface LiveListener {
  phase(phase: Phase, detail: string, retryAt: number | null): void;
  message(message: SseMessage): void;
  /** Anything arrived, a heartbeat too: the stream is alive. */
  alive(): void;
}

export interface LiveStream {
  /** Try again now instead of waiting for the back-off. */
  retryNow(): void;
  close(): void;
}

/** The server sends a heartbeat every 15 s; twice that without a byte means the connection is dead. Milliseconds. */
const SILENCE = 32_000;

class Refused extends Error {}

export function openLive(key: string, listener: LiveListener): LiveStream {
  let closed = false;
  let attempt = 0;
  let generation = 0;
  let controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function connect(): Promise<void> {
    // Only the newest connection may speak: one that was aborted for a retry stays silent.
    generation += 1;
    const mine = generation;
    controller = new AbortController();
    listener.phase("connecting", "", null);
    try {
      await read(key, controller, listener, () => {
        attempt = 0;
      });
      if (mine === generation) retry("The stream ended.");
    } catch (error) {
      if (closed || mine !== generation) return;
      if (error instanceof Refused) listener.phase("refused", error.message, null);
      else retry(error instanceof Error && error.message ? error.message : "The API cannot be reached.");
    }
  }

  function retry(detail: string): void {
    if (closed) return;
    const delay = backoffDelay(attempt, Math.random());
    attempt += 1;
    listener.phase("waiting", detail, Date.now() / 1000 + delay / 1000);
    timer = setTimeout(() => void connect(), delay);
  }

  void connect();
  return {
    retryNow() {
      clearTimeout(timer);
      const old = controller;
      attempt = 0;
      if (!closed) void connect();
      old.abort();
    },
    close() {
      closed = true;
      clearTimeout(timer);
      controller.abort();
    },
  };
}

async function read(key: string, controller: AbortController, listener: LiveListener, opened: () => void): Promise<void> {
  const answer = await fetch(`${BASE}/live`, {
    headers: { Authorization: `Bearer ${key}`, Accept: "text/event-stream" },
    cache: "no-store",
    signal: controller.signal,
  }).catch(() => {
    throw new Error("The API cannot be reached.");
  });
  if (answer.status === 401 || answer.status === 403) throw new Refused(problemMessage(answer.status, await answer.text()));
  if (!answer.ok || !answer.body) throw new Error(problemMessage(answer.status, await answer.text()));
  listener.phase("live", "", null);
  opened();
  await pump(answer.body, controller, listener);
}

async function pump(body: ReadableStream<Uint8Array>, controller: AbortController, listener: LiveListener): Promise<void> {
  const parser = sseParser((message) => listener.message(message));
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let silence: ReturnType<typeof setTimeout> | undefined;
  try {
    for (;;) {
      silence = setTimeout(() => controller.abort(), SILENCE);
      const piece = await reader.read();
      clearTimeout(silence);
      if (piece.done) return;
      listener.alive();
      parser.push(decoder.decode(piece.value, { stream: true }));
    }
  } catch {
    throw new Error(controller.signal.aborted ? "Nothing was heard for 30 s." : "The connection was lost.");
  } finally {
    clearTimeout(silence);
  }
}
