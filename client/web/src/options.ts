/** What a connection to a server needs: its address, a credential, retries; no transport. */
import type { Interceptor } from "@connectrpc/connect";
import { retrying, type RetryPolicy } from "./retry.js";

/** An API key, a JWT or a feedback token; or a function that gives the one in force, asked at each call. */
export type Credential = string | (() => string | Promise<string>);

export interface ClientOptions {
  /** `https://feedback.acme.dev`: the server's HTTP port. */
  baseUrl: string;
  /** Sent as `authorization: Bearer …`. */
  credential?: Credential;
  /** The deadline of a unary call with all its attempts, in milliseconds; 10,000 unless given. Streams have none. */
  timeoutMs?: number;
  /** How calls are retried; `false` for not at all. */
  retry?: Partial<RetryPolicy> | false;
  /** Call what changes nothing by GET; then a proxy may answer again what it has answered. */
  useHttpGet?: boolean;
  /** More interceptors, the outermost first. */
  interceptors?: Interceptor[];
  /** Another fetch than the platform's. */
  fetch?: typeof globalThis.fetch;
}

/** The options of a transport of Connect or gRPC-Web. */
export function connectWith(options: ClientOptions) {
  const { baseUrl, credential, timeoutMs = 10_000, retry, useHttpGet = false, interceptors = [], fetch } = options;
  return {
    baseUrl: baseUrl.replace(/\/+$/, ""),
    useHttpGet,
    useBinaryFormat: true,
    interceptors: [
      ...interceptors,
      deadline(timeoutMs),
      ...(retry === false ? [] : [retrying(retry)]),
      ...(credential === undefined ? [] : [bearer(credential)]),
    ],
    ...(fetch === undefined ? {} : { fetch }),
  };
}

/** One deadline over all attempts of a unary call. */
function deadline(milliseconds: number): Interceptor {
  return (next) => async (request) => {
    if (request.stream || request.header.has("connect-timeout-ms") || request.header.has("grpc-timeout")) {
      return next(request);
    }
    const signal = AbortSignal.any([request.signal, AbortSignal.timeout(milliseconds)]);
    return next({ ...request, signal });
  };
}

function bearer(credential: Credential): Interceptor {
  return (next) => async (request) => {
    const value = typeof credential === "string" ? credential : await credential();
    request.header.set("authorization", `Bearer ${value}`);
    return next(request);
  };
}
