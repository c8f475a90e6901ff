/** Records as plain values, on their way in and out. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Feedback, FeedbackSchema } from "./gen/plaudit/v1/feedback_pb.js";
import { newId } from "./ids.js";

type FeedbackInit = Exclude<MessageInitShape<typeof FeedbackSchema>, { $typeName: string }>;

/** A record to store: the fields of `Feedback`, with the payload as a value in place of its JSON text. */
export interface NewRecord extends Omit<FeedbackInit, "payloadJson" | "$typeName"> {
  ref: string;
  feedbackType: string;
  payload?: object;
}

/** A record for a request, with an id of its own, so that it may be sent again. Raises TypeError for no JSON. */
export function record({ payload = {}, ...fields }: NewRecord): FeedbackInit {
  const payloadJson = JSON.stringify(payload);
  if (payloadJson === undefined) throw new TypeError("the payload is no JSON");
  return { ...fields, id: fields.id || newId(), payloadJson };
}

/** A record's payload. Whole numbers above 2^53 lose their last digits, as everywhere in JavaScript: see `payloadJson`. */
export function payloadOf(feedback: Feedback): Record<string, unknown> {
  return JSON.parse(feedback.payloadJson || "{}");
}
