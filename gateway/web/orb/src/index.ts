/** The components of a voice call; importing this registers them. */
export { VoiceCallElement } from "./call.ts";
export { LABELS } from "./labels.ts";
export { VoiceOrb } from "./orb.ts";
export { VoiceTranscript } from "./transcript.ts";
export { type Spoken, Words } from "./words.ts";
