/** Identifiers as words: "campaign_delivered" → "Campaign delivered". */
export function words(id: string): string {
  const text = id.replaceAll(/[_-]+/g, " ").replaceAll(/\s+/g, " ").trim();
  return text === "" ? "" : text.charAt(0).toUpperCase() + text.slice(1);
}

/** A long identifier kept recognisable: first eight and last four characters. */
export function shortId(id: string): string {
  return id.length <= 16 ? id : `${id.slice(0, 8)}…${id.slice(-4)}`;
}

/** A sentence with its UUIDs shortened. */
export function shortIds(sentence: string): string {
  return sentence.replaceAll(/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/gi, shortId);
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return n === 1 ? one : many;
}
