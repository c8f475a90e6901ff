/** Retries of unary calls: when nothing was done, or when doing it again is safe because the client made the ids. */
import { Code, type Interceptor } from "@connectrpc/connect";
import { describe } from "./errors.js";

export interface RetryPolicy {
  /** How often a call is tried at most. */
  attempts: number;
  /** The wait before the second attempt, in milliseconds; it doubles from there. */
  firstDelayMs: number;
  /** The longest wait, unless the server asks for a longer one. */
  longestDelayMs: number;
}

const DEFAULT: RetryPolicy = { attempts: 5, firstDelayMs: 100, longestDelayMs: 5_000 };

/** An interceptor that retries what is UNAVAILABLE, and what is RESOURCE_EXHAUSTED if the server says when to come back. */
export function retrying(given: Partial<RetryPolicy> = {}): Interceptor {
  const policy = { ...DEFAULT, ...given };
  return (next) => async (request) => {
    if (request.stream) return next(request);
    for (let attempt = 1; ; attempt++) {
      try {
        return await next(request);
      } catch (error) {
        const delay = delayAfter(error, attempt, policy);
        if (delay === undefined || attempt >= policy.attempts || request.signal.aborted) throw error;
        await sleep(delay, request.signal);
        if (request.signal.aborted) throw error;
      }
    }
  };
}

/** How long to wait after an error, in milliseconds; undefined when another attempt would be no use. */
export function delayAfter(error: unknown, attempt: number, policy: RetryPolicy = DEFAULT): number | undefined {
  const { code, retryDelayMs } = describe(error);
  const passing = code === Code.Unavailable || (code === Code.ResourceExhausted && retryDelayMs !== undefined);
  if (!passing) return undefined;
  const backoff = Math.min(policy.longestDelayMs, policy.firstDelayMs * 2 ** (attempt - 1));
  return Math.max(retryDelayMs ?? 0, backoff * (0.5 + Math.random() / 2));
}

/** Wait, or until the signal is aborted. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    if (signal?.aborted) done();
    else signal?.addEventListener("abort", done, { once: true });
  });
}
