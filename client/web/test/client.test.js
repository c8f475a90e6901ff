// The parts that need no server: against a server in memory, which speaks the same messages.
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toJson } from "@bufbuild/protobuf";
import { createRouterTransport } from "@connectrpc/connect";
import {
  Code, ConnectError, FeedbackService, allOf, anyOf, constant, createClient, describe, field, newId, not, pages,
  payloadOf, query, record, retrying, rows, watch,
} from "@plaudit/client";
import { QuerySchema } from "@plaudit/client/v1";
import { BadRequestSchema, ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema } from "../dist/gen/google/rpc/error_details_pb.js";

const FAST = { firstDelayMs: 1, longestDelayMs: 2 };
const client = (methods, ...interceptors) =>
  createClient(FeedbackService, createRouterTransport(({ service }) => service(FeedbackService, methods), { transport: { interceptors } }));
const refusal = (code, retryDelayMs, reason = "OVERLOADED") =>
  new ConnectError("no", code, undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: "plaudit.dev", metadata: { a: "b" } } },
    { desc: RequestInfoSchema, value: { requestId: "r-1" } },
    { desc: BadRequestSchema, value: { fieldViolations: [{ field: "project", description: "is empty" }] } },
    ...(retryDelayMs === undefined ? [] : [{ desc: RetryInfoSchema, value: { retryDelay: { seconds: 0n, nanos: retryDelayMs * 1e6 } } }]),
  ]);

test("ids are UUIDv7 and grow", () => {
  const ids = Array.from({ length: 5000 }, () => newId());
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(ids, [...ids].sort());
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(newId(1) > ids.at(-1), "also when the clock steps back");
});

test("records carry an id and their payload as JSON", () => {
  const made = record({ ref: "urn:x", feedbackType: "a", payload: { v: 1 } });
  assert.equal(made.payloadJson, '{"v":1}');
  assert.match(made.id, /-7/);
  assert.equal(record({ ref: "urn:x", feedbackType: "a", id: "mine" }).id, "mine");
  assert.deepEqual(payloadOf({ payloadJson: "" }), {});
  assert.throws(() => record({ ref: "urn:x", feedbackType: "a", payload: () => 1 }), TypeError);
});

test("an error as values", () => {
  const problem = describe(refusal(Code.ResourceExhausted, 250, "QUOTA_EXCEEDED"));
  assert.deepEqual(problem, {
    code: Code.ResourceExhausted, message: "no", reason: "QUOTA_EXCEEDED", metadata: { a: "b" },
    violations: [{ field: "project", description: "is empty" }], retryDelayMs: 250, requestId: "r-1",
  });
  assert.equal(describe(new Error("x")).reason, "");
});

for (const [name, error, attempts] of [
  ["unavailable", refusal(Code.Unavailable), 3],
  ["overloaded, with a time to come back", refusal(Code.ResourceExhausted, 1), 3],
  ["too large, which no wait helps", refusal(Code.ResourceExhausted), 1],
  ["refused", refusal(Code.InvalidArgument), 1],
]) {
  test(`retries: ${name}`, async () => {
    let calls = 0;
    const getFeedback = () => {
      calls += 1;
      throw error;
    };
    await assert.rejects(client({ getFeedback }, retrying({ ...FAST, attempts: 3 })).getFeedback({}), ConnectError);
    assert.equal(calls, attempts);
  });
}

test("a retry that works is the answer", async () => {
  let calls = 0;
  const getFeedback = () => {
    if (++calls < 3) throw refusal(Code.Unavailable);
    return { feedback: { id: "x" } };
  };
  const answer = await client({ getFeedback }, retrying(FAST)).getFeedback({});
  assert.equal(answer.feedback.id, "x");
});

test("an abort ends the wait between two attempts", async () => {
  const aborting = new AbortController();
  const getFeedback = () => {
    aborting.abort();
    throw refusal(Code.ResourceExhausted, 60_000);
  };
  await assert.rejects(client({ getFeedback }, retrying()).getFeedback({}, { signal: aborting.signal }));
});

test("pages and rows", async () => {
  const asked = [];
  const queryFeedback = (request) => {
    asked.push([request.pageToken, request.project]);
    const next = { "": "a", a: "b", b: "" }[request.pageToken];
    return { feedback: [{ id: `${request.pageToken}1` }, { id: `${request.pageToken}2` }], nextPageToken: next };
  };
  const reader = client({ queryFeedback });
  const ids = [];
  for await (const row of rows(reader, { project: "a/b" })) ids.push(row.id);
  assert.deepEqual(ids, ["1", "2", "a1", "a2", "b1", "b2"]);
  assert.deepEqual(asked, [["", "a/b"], ["a", "a/b"], ["b", "a/b"]]);
  for await (const page of pages(reader, { project: "a/b" })) {
    assert.equal(page.feedback.length, 2);
    break;
  }
  assert.equal(asked.length, 4, "no page is fetched before it is asked for");
});

const change = (revision) => ({ revision, subject: { case: "feedback", value: { id: String(revision) } } });

test("a watch goes on after its last revision, whatever ends the stream", async () => {
  const asked = [];
  const seen = [];
  const done = new AbortController();
  async function* watchFeedback(request) {
    asked.push(request.afterRevision);
    switch (asked.length) {
      case 1:
        yield { changes: [], revision: 5n };
        yield { changes: [change(6n), change(7n)], revision: 7n };
        throw new ConnectError("broken pipe", Code.Unknown);
      case 2:
        yield { changes: [change(8n)], revision: 9n };
        return; // a server that drains
      case 3:
        throw refusal(Code.ResourceExhausted, 1, "WATCHER_TOO_SLOW");
      case 4:
        throw refusal(Code.Unavailable);
      default:
        yield { changes: [change(10n)], revision: 10n };
    }
  }
  for await (const one of watch(client({ watchFeedback }), { project: "a/b" }, { signal: done.signal, onRevision: (r) => seen.push(r) })) {
    seen.push(one.subject.value.id);
    if (one.revision === 10n) done.abort();
  }
  assert.deepEqual(asked, [undefined, 5n + 2n, 9n, 9n, 9n]);
  assert.deepEqual(seen.filter((one) => typeof one === "string"), ["6", "7", "8", "10"]);
});

test("a watch throws what does not pass", async () => {
  async function* watchFeedback() {
    throw refusal(Code.OutOfRange, undefined, "REVISION_OUT_OF_RANGE");
  }
  await assert.rejects(watch(client({ watchFeedback }), { project: "a/b" }).next(), (error) => error.code === Code.OutOfRange);
});

test("a watch that comes back says of which store its revision is, and ends when that is another one", async () => {
  const asked = [];
  const told = [];
  async function* watchFeedback(request) {
    asked.push([request.afterRevision, request.storeId]);
    if (asked.length === 2) throw refusal(Code.OutOfRange, undefined, "STORE_CHANGED");
    yield { changes: [], revision: 5n, storeId: "aa" };
    yield { changes: [], revision: 6n, storeId: "" };
  }
  const onRevision = (...position) => told.push(position);
  const changes = watch(client({ watchFeedback }), { project: "a/b", afterRevision: 5n }, { onRevision });
  await assert.rejects(changes.next(), (error) => describe(error).reason === "STORE_CHANGED");
  assert.deepEqual(asked, [[5n, ""], [6n, "aa"]]);
  assert.deepEqual(told, [[5n, "aa"], [6n, "aa"]]);
});

test("a hidden page gives its stream back, and goes on when it is shown", async () => {
  const page = Object.assign(new EventTarget(), { hidden: true });
  globalThis.document = page;
  const show = (hidden) => {
    page.hidden = hidden;
    page.dispatchEvent(new Event("visibilitychange"));
  };
  const asked = [];
  const done = new AbortController();
  async function* watchFeedback(request, context) {
    asked.push(request.afterRevision);
    yield { changes: [change(BigInt(asked.length))], revision: BigInt(asked.length) };
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
  }
  try {
    const changes = watch(client({ watchFeedback }), { project: "a/b", afterRevision: 0n }, { signal: done.signal });
    const first = changes.next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(asked, [], "nothing is asked for while it is hidden");
    show(false);
    assert.equal((await first).value.revision, 1n);
    const second = changes.next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    show(true);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(asked, [0n]);
    show(false);
    assert.equal((await second).value.revision, 2n);
    assert.deepEqual(asked, [0n, 1n]);
    done.abort();
    assert.equal((await changes.next()).done, true);
  } finally {
    delete globalThis.document;
  }
});

test("queries", () => {
  const json = (condition) => toJson(QuerySchema, query(condition)).expr;
  assert.deepEqual(json(field("payload.score").gt(0.5)), {
    comparison: { op: "COMPARISON_OP_GT", left: { field: "payload.score" }, right: { literal: { doubleValue: 0.5 } } },
  });
  assert.deepEqual(json(not(anyOf(field("a").exists(), field("b").in([1, "x"])))), {
    negation: {
      anyOf: {
        expressions: [
          { convert: { input: { field: "a" }, to: "CONVERT_TARGET_EXISTS" } },
          { membership: { operand: { field: "b" }, members: [{ literal: { intValue: "1" } }, { literal: { stringValue: "x" } }] } },
        ],
      },
    },
  });
  assert.deepEqual(json(allOf(field("n").contains("x", { caseInsensitive: true }), constant(true).eq(field("b").asBool()))), {
    allOf: {
      expressions: [
        { contains: { input: { field: "n" }, substring: { literal: { stringValue: "x" } }, caseInsensitive: true } },
        {
          comparison: {
            op: "COMPARISON_OP_EQ",
            left: { literal: { boolValue: true } },
            right: { convert: { input: { field: "b" }, to: "CONVERT_TARGET_BOOL" } },
          },
        },
      ],
    },
  });
  for (const [value, written] of [
    [2n ** 63n - 1n, { intValue: "9223372036854775807" }], [5.5, { doubleValue: 5.5 }], [-0, { doubleValue: -0 }],
    [2 ** 60, { doubleValue: 2 ** 60 }], [null, { nullValue: null }],
  ]) assert.deepEqual(json(constant(value).eq(1)).comparison.left.literal, written);
});

test("values that no query can hold", () => {
  for (const value of [NaN, Infinity, 2n ** 63n]) assert.throws(() => field("a").eq(value), RangeError);
  for (const value of [null, undefined, {}, Symbol("x")]) assert.throws(() => field("a").eq(value), TypeError);
  assert.throws(() => field("a").in([1, null]), /not\(field/);
  assert.equal(create(QuerySchema).expr, undefined);
});
