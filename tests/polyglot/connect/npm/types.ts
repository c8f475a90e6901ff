// What a TypeScript program may write with the packages' types; each line after `@ts-expect-error` must not pass.
import {
  connect, createClient, describe, FeedbackService, field, payloadOf, query, queryFromText, queryToText, record, rows,
  SubmitService, watch, type Change, type Condition, type Feedback, type Problem,
} from "@plaudit/client";
import { grpcWeb } from "@plaudit/client/grpc-web";
import { grpc } from "@plaudit/client/node";
import { QueryFeedbackRequestSchema } from "@plaudit/client/v1";
import type { PlauditReactions } from "@plaudit/reactions";

const client = createClient(FeedbackService, connect({ baseUrl: "/", credential: async () => "key", retry: { attempts: 2 } }));
createClient(SubmitService, grpcWeb({ baseUrl: "/", credential: "token" }));
createClient(FeedbackService, grpc({ baseUrl: "http://localhost:50051" }));

export async function use(project: string, element: PlauditReactions): Promise<Problem> {
  const made = record({ ref: "urn:x", feedbackType: "a", payload: { score: 1 } });
  const { feedback } = await client.createFeedback({ project, feedback: made });
  const stored: Feedback | undefined = feedback;
  const version: bigint = stored!.version;
  const condition: Condition = field("payload.score").gt(0.5);
  for await (const row of rows(client, { project, query: query(condition) })) payloadOf(row)["score"];
  for await (const change of watch(client, { project, query: queryFromText("a = 1") }, { onRevision: (at: bigint) => at })) {
    const one: Change = change;
    if (one.subject.case === "feedback") queryToText(field("id").eq(one.subject.value.id));
  }
  const pressed: string = element.value;
  return describe(new Error(`${pressed} ${version} ${QueryFeedbackRequestSchema.typeName}`));
}

// @ts-expect-error: a record needs its type
record({ ref: "urn:x" });
// @ts-expect-error: no number of JSON
field("a").eq({ nested: true });
// @ts-expect-error: there is no such method
client.deleteFeedback({});
// @ts-expect-error: a revision is a bigint
client.watchFeedback({ project: "a/b", afterRevision: 5 });
