/** What went wrong, as a sentence for a person and a name for a program. */

/** Each of them has a sentence of its own. */
export type FaultCode =
  | "microphone_blocked"
  | "microphone_missing"
  | "microphone_busy"
  | "microphone_lost"
  | "insecure_page"
  | "unsupported"
  | "unreachable"
  | "no_token"
  | "unauthorized"
  | "forbidden"
  | "not_found"
  | "busy"
  | "unavailable"
  | "no_path"
  | "lost"
  | "closing"
  | "refused"
  | "provider";

const SENTENCES: Record<FaultCode, string> = {
  microphone_blocked: "The microphone is blocked for this page. Allow it in the site settings, left of the address.",
  microphone_missing: "There is no microphone. Plug one in, or write instead.",
  microphone_busy: "Another program holds the microphone. Close it, or choose another microphone.",
  microphone_lost: "The microphone was unplugged. Choose another one, or write instead.",
  insecure_page: "A browser gives its microphone only to pages that come by https, or from this machine.",
  unsupported: "This browser is too old for a voice call.",
  unreachable: "The gateway cannot be reached. Check your connection.",
  no_token: "This gateway wants a token, and gives none to this page.",
  unauthorized: "The token is not valid, or no longer. Get a new one.",
  forbidden: "This token does not allow a call from this page.",
  not_found: "There is nobody to talk to at this address.",
  busy: "All lines are taken. Try again in a moment.",
  unavailable: "The gateway cannot take a call now. Try again in a moment.",
  no_path: "Neither WebRTC nor a WebSocket gets through. A firewall or a proxy may block them.",
  lost: "The connection was lost and did not come back.",
  closing: "The gateway is being restarted. Try again in a moment.",
  refused: "The gateway did not understand this page. Reload it.",
  provider: "The AI behind the gateway reported a fault.",
};

/** A failure that a person can be told about: `message` is the sentence. */
export class Fault extends Error {
  readonly code: FaultCode;
  /** Seconds after which it is worth trying again, if the gateway said so. */
  readonly retryAfterS: number | undefined;

  constructor(code: FaultCode, said?: string, retryAfterS?: number) {
    const wait = retryAfterS && code === "busy" ? ` It says: in ${retryAfterS} s.` : "";
    super(said ? `${SENTENCES[code]} (${said})` : SENTENCES[code] + wait);
    this.name = "Fault";
    this.code = code;
    this.retryAfterS = retryAfterS;
  }

  /** Whether another path to the gateway may do better. */
  get isOfPath(): boolean {
    return ["unreachable", "not_found", "unavailable", "no_path", "unsupported"].includes(this.code);
  }
}

/** Anything that was thrown, as a fault. */
export function faultOf(error: unknown, otherwise: FaultCode = "unreachable"): Fault {
  if (error instanceof Fault) return error;
  const name = error instanceof Error ? error.name : "";
  const code = {
    NotAllowedError: "microphone_blocked",
    SecurityError: "microphone_blocked",
    NotFoundError: "microphone_missing",
    OverconstrainedError: "microphone_missing",
    NotReadableError: "microphone_busy",
    AbortError: "microphone_busy",
  }[name] as FaultCode | undefined;
  return new Fault(code ?? otherwise);
}

/** What an answer with an error says. */
export async function faultOfResponse(response: Response): Promise<Fault> {
  const said = await response
    .json()
    .then((body: { error?: { message?: unknown } }) => body.error?.message)
    .catch(() => undefined);
  const retryAfter = Number(response.headers.get("retry-after")) || undefined;
  return new Fault(codeOfStatus(response.status), typeof said === "string" ? said : undefined, retryAfter);
}

function codeOfStatus(status: number): FaultCode {
  if (status === 401) return "unauthorized";
  if (status === 403) return "forbidden";
  if (status === 404 || status === 405 || status === 501) return "not_found";
  if (status === 429) return "busy";
  return status >= 500 ? "unavailable" : "refused";
}

/** What the close of a WebSocket says (RFC 6455 §7.4.1; IANA's registry). What a server invents for itself is a loss. */
export function faultOfClose(code: number, reason: string): Fault {
  const codes: Record<number, FaultCode> = {
    1001: "closing",
    1002: "refused",
    1003: "refused",
    1007: "refused",
    1008: "forbidden",
    1009: "refused",
    1012: "closing",
    1013: "busy",
  };
  return new Fault(codes[code] ?? "lost", reason || undefined);
}
