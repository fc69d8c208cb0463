/** At most `most` calls at a time, first come first served: a slow warehouse gets a queue instead of a flood. */
export function limiter(most: number): <T>(call: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (call) => {
    // The place of a call that ends passes straight to the next in the queue.
    if (running < most) running += 1;
    else await new Promise<void>((next) => waiting.push(next));
    try {
      return await call();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}
