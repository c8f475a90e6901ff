/** The wire: every message and service of `plaudit.v1`, as generated from the protos. */
export * from "./gen/plaudit/v1/analytics_pb.js";
export * from "./gen/plaudit/v1/analytics_service_pb.js";
export * from "./gen/plaudit/v1/definition_pb.js";
export * from "./gen/plaudit/v1/definition_service_pb.js";
export * from "./gen/plaudit/v1/error_reason_pb.js";
export * from "./gen/plaudit/v1/feedback_pb.js";
export * from "./gen/plaudit/v1/feedback_service_pb.js";
export * from "./gen/plaudit/v1/project_service_pb.js";
export * from "./gen/plaudit/v1/query_pb.js";
export * from "./gen/plaudit/v1/ref_pb.js";
export * from "./gen/plaudit/v1/submit_service_pb.js";
export * from "./gen/plaudit/v1/token_service_pb.js";
