/** The little that a page has to know of an SDP. */
import type { Path } from "./line.ts";

/** The answer with only the candidates of one protocol: so a path is chosen, where one is asked for. */
export function onlyCandidates(sdp: string, paths: readonly Path[]): string {
  const isOther = (line: string) => {
    const protocol = /^a=candidate:\S+ \d+ (\S+)/.exec(line)?.[1]?.toLowerCase();
    return protocol !== undefined && !paths.some((path) => path === protocol);
  };
  return sdp.split(/(?<=\n)/).filter((line) => !isOther(line)).join("");
}
