/** A server-sent-events parser, as the HTML standard describes the stream, fed with text as it arrives. */

export interface SseMessage {
  readonly event: string;
  readonly data: string;
  readonly id: string;
}

export interface SseParser {
  /** Feed a piece of the stream; `emit` hears each complete message. A comment line (heartbeat) calls `beat`. */
  push(text: string): void;
  /** The last `retry:` the server asked for, in milliseconds. */
  retry(): number | null;
}

export function sseParser(emit: (message: SseMessage) => void, beat: () => void = () => {}): SseParser {
  let rest = "";
  let event = "";
  let data: string[] = [];
  let id = "";
  let retry: number | null = null;

  function field(name: string, value: string): void {
    if (name === "event") event = value;
    else if (name === "data") data.push(value);
    else if (name === "id" && !value.includes("\0")) id = value;
    else if (name === "retry" && /^\d+$/.test(value)) retry = Number(value);
  }

  function line(text: string): void {
    if (text === "") {
      if (data.length > 0) emit({ event: event || "message", data: data.join("\n"), id });
      event = "";
      data = [];
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return beat();
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1);
    field(name, value.startsWith(" ") ? value.slice(1) : value);
  }

  return {
    push(text) {
      rest += text;
      // A lone \r at the very end may be the first half of \r\n: leave it for the next piece.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      for (const item of lines) line(item);
    },
    retry: () => retry,
  };
}
