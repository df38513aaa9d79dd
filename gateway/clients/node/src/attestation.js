// What the gateway vouches for about a caller: the call ticket.
import { createPublicKey, verify } from "node:crypto";

import { PatchbayError } from "./errors.js";

/** How much was checked, least first. A phone number is no proof of a person: `phone` counts as `none` on this ladder, and as
 * `challenge` if the network vouches for the number in full (STIR/SHAKEN attestation A). */
const LADDER = ["none", "challenge", "account", "verified"];
/** Longest life of a ticket and how far two clocks may differ, in seconds. */
const TICKET_S = 60;
const SKEW_S = 5;
/** How long the gateway's keys are believed, and how long at least before they are fetched again, in seconds. */
const JWKS_S = 600;
const JWKS_AGAIN_S = 10;
const SEEN_MAX = 10_000;

/** The ticket proves nothing. */
export class TicketError extends PatchbayError {
  constructor(reason, message) {
    super(`${reason}: ${message}`);
    this.reason = reason;
  }
}

function rank(level, methods) {
  if (level !== "phone") return Math.max(0, LADDER.indexOf(level));
  return methods.some((m) => m === "phone:A" || String(m?.attest).toUpperCase() === "A") ? 1 : 0;
}

/** Checks tickets. Keeps the gateway's keys, and the tickets that it has seen until they expire. */
export class Verifier {
  #issuer;
  #audience;
  #fetch;
  #nowS;
  #keys = new Map();
  #fetchedS = Number.NEGATIVE_INFINITY;
  #seen = new Map();

  constructor(issuer, botId, fetchJwks, nowS = () => Date.now() / 1000) {
    this.#issuer = issuer;
    this.#audience = `bot:${botId}`;
    this.#fetch = fetchJwks;
    this.#nowS = nowS;
  }

  async verify(ticket, minLevel, callId) {
    if (!LADDER.includes(minLevel) && minLevel !== "phone") throw new TypeError(`minLevel is one of ${LADDER} or phone, not ${minLevel}`);
    const { head, claims, signed, signature } = parse(ticket);
    if (head.typ !== "call-ticket+jwt" || !["EdDSA", "Ed25519"].includes(head.alg)) {
      throw new TicketError("type", `typ ${head.typ}, alg ${head.alg}`);
    }
    const key = await this.#key(String(head.kid ?? ""));
    if (!verify(null, Buffer.from(signed), key, signature)) throw new TicketError("signature", "it was not signed by this gateway");
    return this.#believe(claims, minLevel, callId);
  }

  #believe(claims, minLevel, callId) {
    const { iss, aud, iat, exp, jti, call, human } = claims;
    const now = this.#nowS();
    const isComplete = Number.isFinite(iat) && Number.isFinite(exp) && typeof jti === "string" && call && human;
    if (!isComplete) throw new TicketError("malformed", "a claim is missing");
    if (iss !== this.#issuer) throw new TicketError("issuer", `issued by ${iss}`);
    if (aud !== this.#audience) throw new TicketError("audience", `made out to ${aud}`);
    if (exp - iat > TICKET_S || iat > now + SKEW_S || exp <= now - SKEW_S) {
      throw new TicketError("expired", `good from ${iat} to ${exp}, now ${Math.round(now)}`);
    }
    if (call.id !== jti || (callId !== undefined && callId !== jti)) throw new TicketError("call", `made out for call ${jti}`);
    const level = String(human.level ?? "none");
    const methods = Array.isArray(human.methods) ? human.methods : [];
    const isEnough = minLevel === "phone" ? level === "phone" : rank(level, methods) >= LADDER.indexOf(minLevel);
    if (!isEnough) throw new TicketError("level", `${level} is less than ${minLevel}`);
    this.#once(jti, exp, now);
    return { callId: jti, level, methods, subject: String(claims.sub ?? ""), transport: String(call.transport ?? "") };
  }

  #once(jti, exp, now) {
    if (this.#seen.size >= SEEN_MAX) for (const [seen, until] of this.#seen) if (until <= now) this.#seen.delete(seen);
    if ((this.#seen.get(jti) ?? 0) > now) throw new TicketError("replayed", "it was shown before");
    this.#seen.set(jti, exp + SKEW_S);
  }

  async #key(kid) {
    const age = this.#nowS() - this.#fetchedS;
    if (age > JWKS_S || (!this.#keys.has(kid) && age > JWKS_AGAIN_S)) {
      const { keys = [] } = await this.#fetch();
      const usable = keys.filter((jwk) => jwk.crv === "Ed25519" && jwk.kid);
      this.#keys = new Map(usable.map(({ kid, kty, crv, x }) => [kid, createPublicKey({ key: { kty, crv, x }, format: "jwk" })]));
      this.#fetchedS = this.#nowS();
    }
    const key = this.#keys.get(kid);
    if (!key) throw new TicketError("signature", `the gateway has no key ${kid}`);
    return key;
  }
}

function parse(ticket) {
  const parts = String(ticket).split(".");
  try {
    const [head, claims] = parts.slice(0, 2).map((part) => JSON.parse(Buffer.from(part, "base64url").toString()));
    if (parts.length !== 3 || Object(head) !== head || Object(claims) !== claims) throw new TypeError("parts");
    return { head, claims, signed: `${parts[0]}.${parts[1]}`, signature: Buffer.from(parts[2], "base64url") };
  } catch {
    throw new TicketError("malformed", "not a signed token");
  }
}
