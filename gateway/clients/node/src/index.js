// Bots that take calls from a Patchbay gateway over plain HTTP: no public address, no WebRTC, no codec. `index.d.ts` says what each
// verb takes, gives and throws.
export { Bot } from "./bot.js";
export { BotKey } from "./key.js";
export { Call } from "./call.js";
export { TicketError } from "./attestation.js";
export { CallEnded, CallTaken, ConnectionLost, FramingError, GatewayError, OfferExpired, PatchbayError } from "./errors.js";
