/** A voice call from a browser to a Patchbay gateway. */
export { type CallEvents, type CallOptions, type CallStats, VoiceCall } from "./call.ts";
export { Fault, type FaultCode, faultOf, faultOfResponse } from "./fault.ts";
export type { CallState } from "./floor.ts";
export type { Path } from "./line.ts";
export { microphones } from "./microphone.ts";
export { isObject, number, text, type WireEvent } from "./wire.ts";
