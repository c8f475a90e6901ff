/** Client of plaudit for browsers and Node. */
export { connectWith, type ClientOptions, type Credential } from "./options.js";
export { connect } from "./connect.js";
export { ConnectError, Code, createClient, type Client, type Transport } from "@connectrpc/connect";
export { describe, type Problem, type Violation } from "./errors.js";
export { newId } from "./ids.js";
export { pages, rows } from "./paging.js";
export { record, payloadOf, type NewRecord } from "./records.js";
export { retrying, type RetryPolicy } from "./retry.js";
export { watch, type WatchOptions } from "./watch.js";
export { allOf, anyOf, constant, field, not, query, Operand, type Condition, type Value } from "./query.js";
export { queryFromText, queryToText } from "./queryText.js";
export { QueryTextError } from "./queryWords.js";
export { FeedbackService } from "./gen/plaudit/v1/feedback_service_pb.js";
export { ProjectService } from "./gen/plaudit/v1/project_service_pb.js";
export { SubmitService } from "./gen/plaudit/v1/submit_service_pb.js";
export type { Feedback, Tombstone } from "./gen/plaudit/v1/feedback_pb.js";
export type { Change } from "./gen/plaudit/v1/feedback_service_pb.js";
