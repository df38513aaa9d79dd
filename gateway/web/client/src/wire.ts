/** Events of the OpenAI realtime API in its present (GA) shape, as far as a voice call reads them. */

/** One event, in either direction. What a field is, its reader checks. */
export interface WireEvent {
  type: string;
  event_id?: string;
  [field: string]: unknown;
}

/** The event in a message; nothing if it is not one. */
export function parse(text: unknown): WireEvent | undefined {
  if (typeof text !== "string") return undefined;
  try {
    const event: unknown = JSON.parse(text);
    return isObject(event) && typeof event["type"] === "string" ? (event as WireEvent) : undefined;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** The text in a field, or nothing. */
export function text(from: unknown, field: string): string | undefined {
  const value = isObject(from) ? from[field] : undefined;
  return typeof value === "string" ? value : undefined;
}

/** The number in a field, or nothing. */
export function number(from: unknown, field: string): number | undefined {
  const value = isObject(from) ? from[field] : undefined;
  return typeof value === "number" ? value : undefined;
}

/** The event as a log may show it: no audio. */
export function withoutAudio(event: WireEvent): WireEvent {
  const shown = { ...event };
  for (const field of ["audio", "delta"]) {
    const value = shown[field];
    if (event.type.includes("audio") && !event.type.includes("transcript") && typeof value === "string") {
      shown[field] = `(${value.length} characters of audio)`;
    }
  }
  return shown;
}
