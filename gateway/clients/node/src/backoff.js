// How long to wait, and waiting that something can end.

/** 250 ms, doubled with each failure up to 15 s, and of that a random part between a half and all. */
export class Backoff {
  #failures = 0;

  /** Milliseconds to wait after one more failure. */
  nextMs() {
    const whole = Math.min(15_000, 250 * 2 ** Math.min(this.#failures, 16));
    this.#failures += 1;
    return whole * (0.5 + Math.random() / 2);
  }

  /** Something worked. */
  reset() {
    this.#failures = 0;
  }
}

/** Rings when something has changed; whoever waits then looks again. */
export class Bell {
  #waiting = new Set();

  ring() {
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const wake of waiting) wake();
  }

  /** Waits until `condition()`, or that many milliseconds. Answers whether it is so. */
  async until(condition, ms = Number.POSITIVE_INFINITY) {
    const ends = performance.now() + ms;
    while (!condition()) {
      const left = ends - performance.now();
      if (left <= 0) return false;
      await new Promise((wake) => {
        const timer = Number.isFinite(left) ? setTimeout(() => { this.#waiting.delete(rung); wake(); }, left) : undefined;
        const rung = () => { clearTimeout(timer); wake(); };
        this.#waiting.add(rung);
      });
    }
    return true;
  }
}
