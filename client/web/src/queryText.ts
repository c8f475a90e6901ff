/**
 * The text form of the query language: `payload.score > 0.5 and feedback_type = "judge"`, read and written.
 *
 * Each text has one tree; each tree has one text, from which it is read again. Only a list of one member is written as its
 * member. The grammar is in the documentation of the command line, the words are in `queryWords`.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  ComparisonOp, ConvertTarget, ExpressionSchema, QuerySchema, type Expression, type Literal, type Query,
} from "./gen/plaudit/v1/query_pb.js";
import type { Condition } from "./query.js";
import { cut, FUNCTIONS, misplaced, pathText, QueryTextError, type Token } from "./queryWords.js";

type Kind = NonNullable<Exclude<MessageInitShape<typeof ExpressionSchema>, { $typeName: string }>["kind"]>;

// Parentheses, functions and negations in one another. A tree as deep as the server takes needs less than two a level.
const NESTING = 2 * (32 + 8);
const COMPARISONS = new Map<Token["value"], ComparisonOp>([
  ["=", ComparisonOp.EQ],
  ["!=", ComparisonOp.NE],
  ["<", ComparisonOp.LT],
  ["<=", ComparisonOp.LTE],
  [">", ComparisonOp.GT],
  [">=", ComparisonOp.GTE],
]);
const SIGNS = new Map(Array.from(COMPARISONS, ([sign, op]) => [op, sign]));
const BETWEEN = new Set<Token["value"]>([...COMPARISONS.keys(), "~", "~*", "^="]);
const CONVERSIONS = new Map<Token["value"], ConvertTarget>([
  ["exists", ConvertTarget.EXISTS],
  ["number", ConvertTarget.DOUBLE],
  ["int", ConvertTarget.INT],
  ["text", ConvertTarget.STRING],
  ["bool", ConvertTarget.BOOL],
]);
const CONVERSION_WORDS = new Map(Array.from(CONVERSIONS, ([word, to]) => [to, word]));

/** The query that a text is. Throws QueryTextError, with the place of the first character that is wrong. */
export function queryFromText(text: string): Query {
  return create(QuerySchema, { expr: new Reader(text).whole() });
}

/** The text of a query or condition; `queryFromText` gives the same one again. Throws QueryTextError for one that is not set. */
export function queryToText(given: Query | Condition): string {
  const expression = given.$typeName === "plaudit.v1.Query" ? given.expr : given;
  if (expression === undefined) throw unset("condition");
  return written(expression);
}

/** Reads one query: each method reads what its name says from the next token on. */
class Reader {
  readonly #tokens: Token[];
  #position = 0;
  #depth = 0;

  constructor(readonly text: string) {
    this.#tokens = cut(text);
  }

  whole(): Condition {
    const expression = this.#condition(() => this.#either());
    if (this.#token.kind !== "end") throw this.#unexpected("and, or, or the end");
    return expression;
  }

  get #token(): Token {
    return this.#tokens[this.#position]!;
  }

  /** A part that must be true, false or unknown. */
  #condition(part: () => Expression): Expression {
    const first = this.#token;
    const expression = part();
    if (!isCondition(expression)) throw this.#noCondition(first);
    return expression;
  }

  #either(): Expression {
    const operands = this.#list("or", () => this.#both());
    return operands.length === 1 ? operands[0]! : made({ case: "anyOf", value: { expressions: operands } });
  }

  #both(): Expression {
    const operands = this.#list("and", () => this.#unary());
    return operands.length === 1 ? operands[0]! : made({ case: "allOf", value: { expressions: operands } });
  }

  #unary(): Expression {
    if (!this.#is("word", "not")) return this.#relation();
    this.#enter();
    const operand = this.#condition(() => this.#unary());
    this.#depth -= 1;
    return made({ case: "negation", value: operand });
  }

  /** Two operands and the sign between them, or one operand. */
  #relation(): Expression {
    const left = this.#operand();
    const { kind, value: sign } = this.#token;
    if (kind !== "sign" && !this.#is("word", "in")) return left;
    const op = COMPARISONS.get(sign);
    let expression: Expression;
    if (op !== undefined) {
      this.#next();
      expression = made({ case: "comparison", value: { op, left, right: this.#operand() } });
    } else if (sign === "~" || sign === "~*") {
      this.#next();
      const value = { input: left, substring: this.#operand(), caseInsensitive: sign === "~*" };
      expression = made({ case: "contains", value });
    } else if (sign === "^=") {
      this.#next();
      expression = made({ case: "startsWith", value: { input: left, prefix: this.#operand() } });
    } else if (sign === "in") {
      this.#next();
      expression = made({ case: "membership", value: { operand: left, members: this.#members() } });
    } else {
      return left;
    }
    if (this.#token.kind === "sign" && BETWEEN.has(this.#token.value)) {
      throw this.#misplaced("a second comparison (put the first in parentheses, or write and between them)", this.#token);
    }
    return expression;
  }

  /** A constant, a field, a function, or any part in parentheses. */
  #operand(): Expression {
    const token = this.#token;
    const { kind, value } = token;
    if (kind === "word" && FUNCTIONS.includes(value as string)) return this.#function();
    if (this.#is("sign", "(")) {
      this.#enter();
      const inside = this.#either();
      this.#leave();
      return inside;
    }
    const constant = constantOf(token);
    if (kind !== "field" && constant === undefined) {
      throw this.#unexpected("a field, a constant, a function or a parenthesis");
    }
    this.#next();
    if (constant !== undefined) return made({ case: "literal", value: { value: constant } });
    if (this.#is("sign", "(")) {
      throw this.#misplaced(`unknown function ${shown(token)} (not one of ${FUNCTIONS.join(", ")})`, token);
    }
    return made({ case: "field", value: value as string });
  }

  #function(): Expression {
    const name = this.#token;
    this.#next();
    if (!this.#is("sign", "(")) {
      throw this.#unexpected(`( after ${name.shown}, or a path of this name between backticks`);
    }
    this.#enter();
    const first = this.#token;
    const inside = name.value === "exists" || name.value === "type" ? this.#operand() : this.#either();
    const to = CONVERSIONS.get(name.value);
    if (to !== undefined && inside.kind.case === "convert") {
      throw this.#misplaced(`${name.value}(…) of what is converted already`, first);
    }
    this.#leave();
    if (to === undefined) return made({ case: "typeOf", value: { input: inside } });
    return made({ case: "convert", value: { input: inside, to } });
  }

  #list(word: string, part: () => Expression): Expression[] {
    const first = this.#token;
    const operands = [part()];
    while (this.#is("word", word)) {
      if (operands.length === 1 && !isCondition(operands[0]!)) throw this.#noCondition(first);
      this.#next();
      operands.push(this.#condition(part));
    }
    return operands;
  }

  #members(): Expression[] {
    if (!this.#is("sign", "[")) throw this.#unexpected("[ after in");
    this.#next();
    const members: Expression[] = [];
    while (!this.#is("sign", "]")) {
      if (members.length > 0) {
        if (!this.#is("sign", ",")) throw this.#unexpected(", or ]");
        this.#next();
      }
      members.push(this.#operand());
    }
    this.#next();
    return members;
  }

  /** Go past a token that opens something. */
  #enter(): void {
    this.#depth += 1;
    if (this.#depth > NESTING) throw this.#misplaced(`nested deeper than ${NESTING} parentheses`, this.#token);
    this.#next();
  }

  /** Go past a closing parenthesis. */
  #leave(): void {
    if (!this.#is("sign", ")")) throw this.#unexpected(")");
    this.#depth -= 1;
    this.#next();
  }

  #is(kind: Token["kind"], value: string): boolean {
    return this.#token.kind === kind && this.#token.value === value;
  }

  #next(): void {
    this.#position += 1;
  }

  #misplaced(description: string, token: Token): QueryTextError {
    return misplaced(this.text, description, token.at);
  }

  #unexpected(expected: string): QueryTextError {
    return this.#misplaced(`expected ${expected}, not ${shown(this.#token)},`, this.#token);
  }

  /** The error of a value, beginning with `first`, where a condition must stand. */
  #noCondition(first: Token): QueryTextError {
    if (["field", "string", "number"].includes(this.#token.kind)) return this.#unexpected("a sign such as = or ~");
    return this.#misplaced("a value, not a condition (compare it, or ask exists(…) or bool(…) of it)", first);
  }
}

function made(kind: Kind): Expression {
  return create(ExpressionSchema, { kind });
}

function shown(token: Token): string {
  return Array.from(token.shown).slice(0, 60).join("");
}

function constantOf({ kind, value }: Token): Literal["value"] | undefined {
  if (kind === "string") return { case: "stringValue", value: value as string };
  if (kind === "number") {
    return typeof value === "bigint" ? { case: "intValue", value } : { case: "doubleValue", value: value as number };
  }
  if (kind !== "word") return undefined;
  if (value === "true" || value === "false") return { case: "boolValue", value: value === "true" };
  return value === "null" ? { case: "nullValue", value: 0 } : undefined;
}

function isCondition({ kind }: Expression): boolean {
  switch (kind.case) {
    case "literal":
    case "field":
    case "typeOf":
    case undefined:
      return false;
    case "convert":
      return kind.value.to === ConvertTarget.EXISTS || kind.value.to === ConvertTarget.BOOL;
    default:
      return true;
  }
}

// --- written

function written(given: Expression): string {
  const { kind } = given;
  switch (kind.case) {
    case "allOf":
    case "anyOf": {
      const operands = kind.value.expressions;
      if (operands.length === 0) throw unset("member of a list");
      if (operands.length === 1) return written(operands[0]!);
      // `and` binds tighter than `or`: only a list in a list of its own kind, or an `or` in an `and`, needs more.
      const bound = kind.case === "allOf" ? ["anyOf", "allOf"] : ["anyOf"];
      return operands.map((one) => within(one, bound)).join(kind.case === "allOf" ? " and " : " or ");
    }
    case "negation":
      return `not ${within(kind.value, ["anyOf", "allOf"])}`;
    case "comparison": {
      const sign = SIGNS.get(kind.value.op);
      if (sign === undefined) throw unset("comparison");
      return `${operandText(kind.value.left)} ${sign} ${operandText(kind.value.right)}`;
    }
    case "contains":
      return `${operandText(kind.value.input)} ${kind.value.caseInsensitive ? "~*" : "~"} ${operandText(kind.value.substring)}`;
    case "startsWith":
      return `${operandText(kind.value.input)} ^= ${operandText(kind.value.prefix)}`;
    case "membership":
      return `${operandText(kind.value.operand)} in [${kind.value.members.map(operandText).join(", ")}]`;
    default:
      return operandText(given);
  }
}

/** An operand of and, or, not: in parentheses where it is a list of one of these kinds. */
function within(given: Expression, bound: readonly string[]): string {
  const expression = withoutListsOfOne(given);
  return bound.includes(expression.kind.case ?? "") ? `(${written(expression)})` : written(expression);
}

/** An expression that stands beside a sign: what is neither constant, field nor function is in parentheses. */
function operandText(given: Expression | undefined): string {
  if (given === undefined) throw unset("expression");
  const expression = withoutListsOfOne(given);
  const { kind } = expression;
  switch (kind.case) {
    case "literal":
      return literalText(kind.value);
    case "field":
      return pathText(kind.value);
    case "convert": {
      const word = CONVERSION_WORDS.get(kind.value.to);
      if (word === undefined || kind.value.input === undefined) throw unset("conversion");
      return `${word}(${word === "exists" ? operandText(kind.value.input) : written(kind.value.input)})`;
    }
    case "typeOf":
      return `type(${operandText(kind.value.input)})`;
    case undefined:
      throw unset("expression");
    default:
      return `(${written(expression)})`;
  }
}

/** The expression that is left when lists of one member are their member. */
function withoutListsOfOne(given: Expression): Expression {
  let expression = given;
  while (
    (expression.kind.case === "allOf" || expression.kind.case === "anyOf") &&
    expression.kind.value.expressions.length === 1
  ) {
    expression = expression.kind.value.expressions[0]!;
  }
  return expression;
}

function literalText({ value }: Literal): string {
  switch (value.case) {
    case "nullValue":
      return "null";
    case "boolValue":
    case "intValue":
      return String(value.value);
    case "doubleValue":
      return doubleText(value.value);
    case "stringValue":
      return JSON.stringify(value.value);
    case undefined:
      throw unset("literal");
  }
}

/** The shortest text of a double, with a fraction or an exponent to tell it from an integer. */
function doubleText(value: number): string {
  const text = Object.is(value, -0) ? "-0" : String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

function unset(what: string): QueryTextError {
  return new QueryTextError(`the query holds a ${what} that is not set`);
}
