/** The end of the last sentence that is whole: behind its mark, and behind the space after it. 0 if none is. */
export function endOfSentences(words: string): number {
  let end = 0;
  for (const match of words.matchAll(/[.!?…]["'”’)\]]*\s+|[。！？][」』”]*/gu)) end = match.index + match[0].length;
  return end;
}
