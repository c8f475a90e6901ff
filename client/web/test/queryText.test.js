// The text form of queries: the pairs that every language runs, tests/conformance/query_text.jsonl.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { create, equals, fromJson, toJson } from "@bufbuild/protobuf";
import { allOf, anyOf, field, not, query, queryFromText, queryToText, QueryTextError } from "@plaudit/client";
import { ExpressionSchema, QuerySchema } from "@plaudit/client/v1";

const lines = readFileSync(new URL("../../../tests/conformance/query_text.jsonl", import.meta.url), "utf8");
const pairs = lines.trimEnd().split("\n").map((line) => JSON.parse(line));
const trees = pairs.filter((pair) => pair.message);
const refused = pairs.filter((pair) => !pair.message);

test("texts and their trees", () => {
  assert.ok(trees.length > 80 && refused.length > 50);
  for (const { text, canonical = text, message } of trees) {
    const expected = fromJson(QuerySchema, message);
    for (const one of [text, canonical]) {
      const read = queryFromText(one);
      assert.ok(equals(QuerySchema, read, expected), `${one} is ${JSON.stringify(toJson(QuerySchema, read))}`);
    }
    assert.equal(queryToText(expected), canonical);
    assert.equal(queryToText(expected.expr), canonical);
  }
});

test("texts that are refused at their place", () => {
  for (const { text, character, error = "" } of refused) {
    assert.throws(() => queryFromText(text), (raised) => {
      assert.ok(raised instanceof QueryTextError, `${text}: ${raised}`);
      assert.equal(raised.character, character, `${text}: ${raised.message}`);
      assert.ok(raised.message.startsWith(error), `${text}: ${raised.message}`);
      return true;
    });
  }
  assert.throws(() => queryFromText(`a = "${"x".repeat(16 * 1024)}"`), QueryTextError);
});

test("what is built is what is read", () => {
  const built = query(allOf(
    field("payload.score").gt(0.5), not(anyOf(field("ref").startsWith("urn:"), field("payload.v").typeOf().eq("null"))),
    field("creator").in(["a", 5n]), field("payload.note").contains("x", { caseInsensitive: true }), field("queue_id").exists(),
  ));
  const text = queryToText(built);
  assert.equal(text, 'payload.score > 0.5 and not (ref ^= "urn:" or type(payload.v) = "null") and creator in ["a", 5]' +
    ' and payload.note ~* "x" and exists(queue_id)');
  assert.ok(equals(QuerySchema, queryFromText(text), built));
});

test("numbers are read as they are written", () => {
  for (const value of [-0, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 0.1, 2 ** 53, -1e20]) {
    const built = query(field("a").eq(value));
    assert.ok(equals(QuerySchema, queryFromText(queryToText(built)), built), queryToText(built));
  }
});

test("what is not set has no text", () => {
  const empty = (kind) => create(ExpressionSchema, { kind });
  for (const given of [
    create(QuerySchema), empty(), empty({ case: "comparison", value: {} }), empty({ case: "allOf", value: {} }),
    empty({ case: "convert", value: {} }), empty({ case: "literal", value: {} }), empty({ case: "contains", value: {} }),
  ]) assert.throws(() => queryToText(given), QueryTextError);
});
