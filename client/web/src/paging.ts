/** All rows of a query, page by page. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CallOptions, Client } from "@connectrpc/connect";
import type { Feedback } from "./gen/plaudit/v1/feedback_pb.js";
import type { FeedbackService, QueryFeedbackRequestSchema, QueryFeedbackResponse } from "./gen/plaudit/v1/feedback_service_pb.js";

type Request = Exclude<MessageInitShape<typeof QueryFeedbackRequestSchema>, { $typeName: string }>;
type Reader = Pick<Client<typeof FeedbackService>, "queryFeedback">;

/** The pages of a query, each fetched when it is asked for. */
export async function* pages(client: Reader, request: Request, options?: CallOptions): AsyncGenerator<QueryFeedbackResponse> {
  let pageToken = request.pageToken ?? "";
  do {
    const page = await client.queryFeedback({ ...request, pageToken }, options);
    yield page;
    pageToken = page.nextPageToken;
  } while (pageToken);
}

/** The rows of a query. */
export async function* rows(client: Reader, request: Request, options?: CallOptions): AsyncGenerator<Feedback> {
  for await (const page of pages(client, request, options)) yield* page.feedback;
}
