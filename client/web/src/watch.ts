/** The changes of a project, as long as the caller wants them: over failures, and while the page is hidden. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, type Client } from "@connectrpc/connect";
import { describe } from "./errors.js";
import type { Change, FeedbackService, WatchFeedbackRequestSchema } from "./gen/plaudit/v1/feedback_service_pb.js";
import { delayAfter, sleep } from "./retry.js";

type Request = Exclude<MessageInitShape<typeof WatchFeedbackRequestSchema>, { $typeName: string }>;
type Watcher = Pick<Client<typeof FeedbackService>, "watchFeedback">;

export interface WatchOptions {
  /** Ends the watch. */
  signal?: AbortSignal;
  /**
   * Give the connection back while the page is hidden, and go on after the last revision when it is shown; on unless
   * `false`, where there is a page. A browser has six connections to a server over HTTP/1.1, for all its tabs.
   */
  yieldWhenHidden?: boolean;
  /**
   * Called with the revision up to which everything has been seen, and the id of the store that it is of: to go on from
   * there another time, with both in the request. The id is empty when the server is older than that.
   */
  onRevision?: (revision: bigint, storeId: string) => void;
}

interface Page {
  hidden: boolean;
  addEventListener(type: "visibilitychange", listener: () => void): void;
  removeEventListener(type: "visibilitychange", listener: () => void): void;
}

/**
 * Each change of a project once, in the order of their revisions, starting after `afterRevision` (0: from the start;
 * left out: from now). What passes is tried again; everything else is thrown, as is OUT_OF_RANGE with the reason
 * STORE_CHANGED, when the server's store is not the one that the revision is of: a backup was restored meanwhile.
 */
export async function* watch(client: Watcher, request: Request, options: WatchOptions = {}): AsyncGenerator<Change> {
  const page = options.yieldWhenHidden === false ? undefined : (globalThis as { document?: Page }).document;
  let after = request.afterRevision;
  let storeId = request.storeId ?? "";
  let failures = 0;
  while (!options.signal?.aborted) {
    await shown(page, options.signal);
    const turn = new AbortController();
    const end = () => turn.abort();
    const look = () => page?.hidden && turn.abort();
    options.signal?.addEventListener("abort", end, { once: true });
    page?.addEventListener("visibilitychange", look);
    try {
      if (options.signal?.aborted) return;
      const next = after === undefined ? request : { ...request, afterRevision: after, storeId };
      for await (const message of client.watchFeedback(next, { signal: turn.signal, timeoutMs: 0 })) {
        failures = 0;
        storeId ||= message.storeId ?? "";
        for (const change of message.changes) {
          yield change;
          after = change.revision;
        }
        // A server whose first message says nothing but where it stands.
        if (after === undefined || message.revision > after) after = message.revision;
        options.onRevision?.(after, storeId);
      }
    } catch (error) {
      if (options.signal?.aborted) return;
      if (!turn.signal.aborted) {
        failures += 1;
        const delay = delayAfterFailure(error, failures);
        if (delay === undefined) throw error;
        await sleep(delay, options.signal);
      }
    } finally {
      turn.abort();
      options.signal?.removeEventListener("abort", end);
      page?.removeEventListener("visibilitychange", look);
    }
  }
}

/** Also a stream that broke off in the middle, which has other codes than a call that could not begin. */
function delayAfterFailure(error: unknown, failures: number): number | undefined {
  const { code, reason } = describe(error);
  if (reason === "WATCHER_TOO_SLOW") return 0;
  const broken = reason === "" && (code === Code.Unknown || code === Code.Internal || code === Code.Aborted || code === Code.Canceled);
  return broken ? Math.min(5_000, 100 * 2 ** failures) : delayAfter(error, failures);
}

function shown(page: Page | undefined, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      if (page?.hidden && !signal?.aborted) return;
      page?.removeEventListener("visibilitychange", done);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    page?.addEventListener("visibilitychange", done);
    signal?.addEventListener("abort", done);
    done();
  });
}
