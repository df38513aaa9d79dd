/** Where the page's token comes from: the address, the gateway itself if its page is open, or the person. */
import { Fault, faultOf, faultOfResponse } from "@patchbay/client";

/** A token is asked for anew this long before it ends. */
const EARLY_S = 30;

export class Tokens {
  #given: string | undefined;
  #minted: { value: string; expiresAt: number } | undefined;

  /** What stands behind `#token=` in the address; taken out of it, so that nobody copies it along. */
  constructor() {
    this.#given = new URLSearchParams(location.hash.slice(1)).get("token") ?? undefined;
    if (this.#given) history.replaceState(null, "", location.pathname + location.search);
  }

  /** The person's own. */
  give(token: string): void {
    this.#given = token.trim();
  }

  /** Forgets a token that was refused. */
  drop(): void {
    this.#given = this.#minted = undefined;
  }

  /** One that is good now. Throws a `Fault`: `no_token` where the page is not open. */
  async get(): Promise<string> {
    if (this.#given) return this.#given;
    if (this.#minted && this.#minted.expiresAt - EARLY_S > Date.now() / 1000) return this.#minted.value;
    const response = await fetch("/v1/page/token", { method: "POST" }).catch((error: unknown) => Promise.reject(faultOf(error)));
    if (response.status === 403 || response.status === 401 || response.status === 404) throw new Fault("no_token");
    if (!response.ok) throw await faultOfResponse(response);
    const { value, expires_at } = (await response.json()) as { value?: unknown; expires_at?: unknown };
    if (typeof value !== "string") throw new Fault("refused");
    this.#minted = { value, expiresAt: typeof expires_at === "number" ? expires_at : 0 };
    return value;
  }
}
