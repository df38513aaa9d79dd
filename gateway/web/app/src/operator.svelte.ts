/** What the console knows: the calls, and the one that is looked at. The key is kept in memory, and gone with the page. */
import { faultOf, faultOfResponse } from "@patchbay/client";
import { Listener } from "./listener.ts";

/** A call as a list has it. */
export interface Listed {
  id: string;
  tenant: string;
  route: string;
  state: string;
  started_at: number;
  duration_ms?: number | null;
  direction?: string;
  from?: string | null;
  to?: string | null;
  user?: string | null;
  model?: string | null;
  cost_micro_usd?: number;
  outcome?: { reason?: string; code?: string | null } | null;
}

/** A call with its words. */
export interface Whole extends Listed {
  transcript?: Array<{ item?: string; role: string; at_ms: number; text: string; heard_ms?: number | null }>;
  answered_after_ms?: number[];
  cuts?: unknown;
  redials?: number;
}

/** Root mean squares of the caller and of what the caller hears, by call: of those whose route lets operators listen. */
export type Levels = Record<string, [number, number]>;

const LEVELS_AGAIN_MS = 3_000;
const LIST_EVERY_MS = 2_000;
const CALL_EVERY_MS = 1_000;

export class Operator {
  calls = $state.raw<readonly Listed[]>([]);
  chosen = $state<string>();
  call = $state.raw<Whole>();
  /** A key is needed, and the one that was given is wrong. */
  needsKey = $state(false);
  wasRefused = $state(false);
  problem = $state("");
  isLoaded = $state(false);
  /** On the admin listener every tenant's calls, elsewhere those of the key's own tenant. */
  isOfAll = $state(true);
  levels = $state.raw<Levels>({});
  /** The call that is being heard. */
  heard = $state<string>();

  #key = "";
  #timers: Array<ReturnType<typeof setInterval>> = [];
  #listener: Listener | undefined;
  #levelsStop: AbortController | undefined;

  /** Looks again and again, until the function that is answered is called. */
  watch(): () => void {
    void this.#list();
    this.#timers = [setInterval(() => void this.#list(), LIST_EVERY_MS), setInterval(() => void this.#look(), CALL_EVERY_MS)];
    return () => {
      this.#timers.forEach(clearInterval);
      this.#levelsStop?.abort();
      this.deafen();
    };
  }

  use(key: string): void {
    this.#key = key.trim();
    this.needsKey = false;
    void this.#list();
  }

  choose(id: string | undefined): void {
    this.chosen = id;
    this.call = undefined;
    void this.#look();
  }

  async end(id: string): Promise<void> {
    const path = this.isOfAll ? `/admin/calls/${id}/end` : `/v1/calls/${id}/hangup`;
    await this.#ask(path, "POST");
    await this.#list();
  }

  /** Listens in; in a click. The gateway writes down who did. */
  async listen(id: string): Promise<void> {
    this.deafen();
    const listener = new Listener();
    this.#listener = listener;
    this.heard = id;
    try {
      await listener.hear(`/admin/calls/${id}/listen`, this.#headers());
    } catch (error) {
      this.problem = faultOf(error).message;
    } finally {
      if (this.#listener === listener) this.deafen();
    }
  }

  deafen(): void {
    this.#listener?.close();
    this.#listener = undefined;
    this.heard = undefined;
  }

  /** One long answer with a line for each moment; begun again when it breaks. */
  async #watchLevels(): Promise<void> {
    const stop = new AbortController();
    this.#levelsStop = stop;
    try {
      const response = await fetch("/admin/levels", { headers: this.#headers(), signal: stop.signal });
      const reader = response.ok ? response.body?.pipeThrough(new TextDecoderStream()).getReader() : undefined;
      let rest = "";
      for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read()) {
        const lines = (rest + piece.value).split("\n");
        rest = lines.pop() ?? "";
        const last = lines.at(-1);
        if (last) this.levels = JSON.parse(last) as Levels;
      }
    } catch {
      // It is begun again below.
    }
    this.levels = {};
    if (stop.signal.aborted) return;
    setTimeout(() => {
      if (this.#levelsStop === stop) this.#levelsStop = undefined;
    }, LEVELS_AGAIN_MS);
  }

  #headers(): Record<string, string> {
    return this.#key ? { authorization: `Bearer ${this.#key}` } : {};
  }

  async #list(): Promise<void> {
    if (this.needsKey || document.hidden) return;
    const answer = await this.#ask<{ data?: Listed[] }>(this.isOfAll ? "/admin/calls?limit=50" : "/v1/calls?limit=50");
    if (!answer?.data) return;
    this.calls = answer.data;
    this.isLoaded = true;
    if (this.isOfAll && !this.#levelsStop) void this.#watchLevels();
  }

  async #look(): Promise<void> {
    const listed = this.calls.find(({ id }) => id === this.chosen);
    if (!listed || this.needsKey || document.hidden) return;
    // What has ended does not change any more.
    if (this.call?.id === listed.id && this.call.state === "ended") return;
    const path = this.isOfAll ? `/admin/calls/${listed.id}?tenant=${encodeURIComponent(listed.tenant)}` : `/v1/calls/${listed.id}`;
    const call = await this.#ask<Whole>(path);
    if (call && call.id === this.chosen) this.call = call;
  }

  /** The answer, or nothing and the problem told. */
  async #ask<Answer>(path: string, method = "GET"): Promise<Answer | undefined> {
    try {
      const response = await fetch(path, { method, headers: this.#headers(), cache: "no-store" });
      if (response.status === 404 && this.isOfAll && path.startsWith("/admin/calls?")) return this.#elsewhere<Answer>();
      if (response.status === 401 || response.status === 403) return this.#refused();
      if (!response.ok) throw await faultOfResponse(response);
      this.problem = "";
      return (await response.json()) as Answer;
    } catch (error) {
      this.problem = faultOf(error).message;
      return undefined;
    }
  }

  /** The public listener has no `/admin`: a tenant's own key shows that tenant's calls. */
  #elsewhere<Answer>(): Promise<Answer | undefined> {
    this.isOfAll = false;
    return this.#ask<Answer>("/v1/calls?limit=50");
  }

  #refused(): undefined {
    this.wasRefused = this.#key !== "";
    this.needsKey = true;
    this.#key = "";
  }
}
