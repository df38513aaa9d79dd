/** Who wants to hear of what: a typed list of listeners. */
export class Listeners<Events> {
  #all = new Map<keyof Events, Set<(detail: never) => void>>();

  /** Calls `listener` on each such event, until the function that is answered is called. */
  on<Name extends keyof Events>(name: Name, listener: (detail: Events[Name]) => void): () => void {
    const set = this.#all.get(name) ?? new Set();
    this.#all.set(name, set.add(listener));
    return () => void set.delete(listener);
  }

  tell<Name extends keyof Events>(name: Name, detail: Events[Name]): void {
    for (const listener of this.#all.get(name) ?? []) (listener as (detail: Events[Name]) => void)(detail);
  }
}
