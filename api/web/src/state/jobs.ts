/** Repeated work at a pace of its own, and never more than a fifth of the time: a slow answer is asked for less often. */

import { now } from "./clock";

export interface Job {
  /** Seconds between runs. */
  readonly every: number;
  /** Whether the answer depends on the chosen range. */
  readonly ranged?: boolean;
  run(): Promise<unknown>;
}

/** Rest after a job, as a multiple of how long it took. */
const REST = 4;

export interface Schedule {
  /** Run what depends on the range at once. */
  runRanged(): void;
  stop(): void;
}

/** Runs each job at once and then at its pace; a job never overlaps itself, and a hidden page asks for nothing. */
export function startJobs(jobs: readonly Job[]): Schedule {
  const due = jobs.map(() => 0);
  const busy = jobs.map(() => false);
  const run = (i: number): void => {
    const job = jobs[i]!;
    const started = now();
    due[i] = started + job.every;
    busy[i] = true;
    void job.run().finally(() => {
      busy[i] = false;
      due[i] = Math.max(due[i]!, now() + REST * (now() - started));
    });
  };
  const tick = (): void => {
    if (document.hidden) return;
    jobs.forEach((_, i) => {
      if (!busy[i] && now() >= due[i]!) run(i);
    });
  };
  tick();
  const timer = setInterval(tick, 500);
  return {
    runRanged: () => jobs.forEach((job, i) => job.ranged && run(i)),
    stop: () => clearInterval(timer),
  };
}
