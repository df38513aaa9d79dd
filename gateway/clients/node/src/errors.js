/** Anything that this package throws of its own. */
export class PatchbayError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The gateway cannot be reached, or stopped in the middle. `cause` says why. */
export class ConnectionLost extends PatchbayError {}

/** The call is over: nothing can be sent any more. */
export class CallEnded extends PatchbayError {}

/** What should be a packet or a stream of packets is none. */
export class FramingError extends PatchbayError {}

/** The gateway refused: `status` is HTTP's, `code` the gateway's own. */
export class GatewayError extends PatchbayError {
  constructor(status, code, message, retryAfterMs) {
    super(`${status} ${code}: ${message}`);
    Object.assign(this, { status, code, retryAfterMs });
  }

  /** The error that an answer tells, whatever its body is. */
  static of(status, headers, body) {
    let told = {};
    try {
      told = JSON.parse(body).error ?? {};
    } catch {
      told = { message: String(body).slice(0, 200) };
    }
    const code = String(told.code ?? told.type ?? "unknown");
    const seconds = Number(headers["retry-after"] ?? Number.NaN);
    const Which = { call_taken: CallTaken, offer_expired: OfferExpired }[code] ?? GatewayError;
    return new Which(status, code, String(told.message ?? ""), Number.isFinite(seconds) ? seconds * 1000 : undefined);
  }
}

/** Another instance of this bot was quicker, or was given the call. */
export class CallTaken extends GatewayError {}

/** The call was accepted too late: an offer stands for 5 s, or until the caller gives up. */
export class OfferExpired extends GatewayError {}
