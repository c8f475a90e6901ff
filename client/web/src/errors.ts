/** What a server says of a refusal, from the details of an error. */
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** One broken rule. */
export interface Violation {
  /** The request's field, as `feedback[3].payload.note`. */
  field: string;
  description: string;
}

/** A refusal as values. */
export interface Problem {
  code: Code;
  message: string;
  /** The name of the reason, as `QUOTA_EXCEEDED`; empty when the server gave none. */
  reason: string;
  metadata: Record<string, string>;
  violations: Violation[];
  /** When to come back, in milliseconds. */
  retryDelayMs?: number;
  /** The id under which the server's log has the call. */
  requestId: string;
}

/** Any error of a call as values. */
export function describe(error: unknown): Problem {
  const found = ConnectError.from(error);
  const info = found.findDetails(ErrorInfoSchema).find((one) => one.domain === "plaudit.dev");
  const [retry] = found.findDetails(RetryInfoSchema);
  const delay = retry?.retryDelay;
  return {
    code: found.code,
    message: found.rawMessage,
    reason: info?.reason ?? "",
    metadata: info?.metadata ?? {},
    violations: found
      .findDetails(BadRequestSchema)
      .flatMap((one) => one.fieldViolations.map(({ field, description }) => ({ field, description }))),
    ...(delay === undefined ? {} : { retryDelayMs: Number(delay.seconds) * 1000 + delay.nanos / 1e6 }),
    requestId: found.findDetails(RequestInfoSchema)[0]?.requestId ?? found.metadata.get("x-request-id") ?? "",
  };
}
