// The calls that every client makes, over whatever transport: each is named, and ends with true or an error's text.
import { Code, FeedbackService, createClient, describe, field, query, queryFromText, record, rows, watch } from "@plaudit/client";

export async function calls(transport, project) {
  const client = createClient(FeedbackService, transport);
  const done = {};
  const check = async (name, run) => {
    try {
      const outcome = await run();
      done[name] = outcome === true || `gave ${String(outcome)}`;
    } catch (error) {
      done[name] = String(error);
    }
  };
  let id;
  await check("unary", async () => {
    const feedback = record({ ref: "urn:x", feedbackType: "score", payload: { score: 0.75 } });
    const stored = await client.createFeedback({ project, feedback });
    id = stored.feedback.id;
    const again = await client.createFeedback({ project, feedback });
    return id === feedback.id && again.feedback.version === 1n;
  });
  await check("read", async () => (await client.getFeedback({ project, id })).feedback.payloadJson === '{"score":0.75}');
  await check("error with details", async () => {
    try {
      await client.getFeedback({ project: "none", id });
    } catch (error) {
      const { code, reason, violations, requestId } = describe(error);
      return code === Code.InvalidArgument && reason === "INVALID_FIELD" && violations[0].field === "project" && requestId !== "";
    }
  });
  await check("query", async () => {
    const found = [];
    for await (const row of rows(client, { project, query: query(field("payload.score").gt(0.5)) })) found.push(row.id);
    const text = 'payload.score > 0.5 and ref ^= "urn:"';
    for await (const row of rows(client, { project, query: queryFromText(text) })) found.push(row.id);
    return found.filter((one) => one === id).length === 2;
  });
  await check("server stream", async () => {
    let count = 0;
    for await (const message of client.streamFeedback({ project })) count += message.feedback.length;
    return count >= 1;
  });
  await check("live watch", async () => {
    const ending = new AbortController();
    const changes = watch(client, { project, afterRevision: 0n }, { signal: ending.signal, yieldWhenHidden: false });
    const seen = [];
    let made;
    for await (const change of changes) {
      seen.push(change.subject.value.id);
      if (made === undefined) {
        made = "";
        // While the stream is open: what comes of it comes live.
        client.createFeedback({ project, feedback: record({ ref: "urn:y", feedbackType: "live" }) }).then((stored) => {
          made = stored.feedback.id;
          if (seen.includes(made)) ending.abort(); // the change may come before the answer
        });
      }
      if (made && seen.includes(made)) ending.abort();
    }
    return seen.includes(id);
  });
  await check("abort", async () => {
    const ending = new AbortController();
    setTimeout(() => ending.abort(), 50);
    try {
      for await (const _ of client.watchFeedback({ project, afterRevision: 0n }, { signal: ending.signal, timeoutMs: 0 }));
    } catch (error) {
      return describe(error).code === Code.Canceled;
    }
  });
  await check("deadline", async () => {
    try {
      for await (const _ of client.watchFeedback({ project, afterRevision: 0n }, { timeoutMs: 100 }));
    } catch (error) {
      return describe(error).code === Code.DeadlineExceeded;
    }
  });
  return done;
}
