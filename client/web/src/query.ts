/** The query language, built from fields: `field("payload.score").gt(0.5)`. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ComparisonOp, ConvertTarget, ExpressionSchema, QuerySchema, type Expression, type Query } from "./gen/plaudit/v1/query_pb.js";

/** What a field can be compared with; whole numbers beyond 2^53 as bigint. */
export type Value = string | number | bigint | boolean | null;

/** An expression that is true, false or unknown for a record. */
export type Condition = Expression & { readonly isCondition?: true };

type Init = Exclude<MessageInitShape<typeof ExpressionSchema>, { $typeName: string }>;

/** A field, or what was made of one. */
export class Operand {
  constructor(readonly expression: Expression) {}

  eq(value: Value | Operand): Condition {
    return this.compared(ComparisonOp.EQ, value);
  }
  ne(value: Value | Operand): Condition {
    return this.compared(ComparisonOp.NE, value);
  }
  gt(value: Value | Operand): Condition {
    return this.compared(ComparisonOp.GT, value);
  }
  gte(value: Value | Operand): Condition {
    return this.compared(ComparisonOp.GTE, value);
  }
  lt(value: Value | Operand): Condition {
    return this.compared(ComparisonOp.LT, value);
  }
  lte(value: Value | Operand): Condition {
    return this.compared(ComparisonOp.LTE, value);
  }

  /** Whether it is one of the values. */
  in(values: Iterable<Value | Operand>): Condition {
    const members = Array.from(values, operandOf);
    for (const member of members) refuseNull(member);
    return made({ kind: { case: "membership", value: { operand: this.expression, members } } });
  }

  /** Whether its text has this text in it, or its list this element. */
  contains(text: string | Operand, { caseInsensitive = false } = {}): Condition {
    return made({ kind: { case: "contains", value: { input: this.expression, substring: operandOf(text), caseInsensitive } } });
  }

  /** Whether its text begins with this text. */
  startsWith(prefix: string | Operand): Condition {
    return made({ kind: { case: "startsWith", value: { input: this.expression, prefix: operandOf(prefix) } } });
  }

  /** The kind of a field's value as text: `number`, `text`, `bool`, `null`, `object`, `array`, `time`; unknown where it is missing. */
  typeOf(): Operand {
    return new Operand(made({ kind: { case: "typeOf", value: { input: this.expression } } }));
  }

  /** Whether it is there. */
  exists(): Condition {
    return this.converted(ConvertTarget.EXISTS).expression;
  }

  asNumber(): Operand {
    return this.converted(ConvertTarget.DOUBLE);
  }
  asInt(): Operand {
    return this.converted(ConvertTarget.INT);
  }
  asText(): Operand {
    return this.converted(ConvertTarget.STRING);
  }
  asBool(): Operand {
    return this.converted(ConvertTarget.BOOL);
  }

  private converted(to: ConvertTarget): Operand {
    return new Operand(made({ kind: { case: "convert", value: { input: this.expression, to } } }));
  }

  private compared(op: ComparisonOp, value: Value | Operand): Condition {
    const right = operandOf(value);
    refuseNull(right);
    return made({ kind: { case: "comparison", value: { op, left: this.expression, right } } });
  }
}

/** A column (`creator`), a path in the payload (`payload.score`) or a key of a map (`scorer_ratings.quality`). */
export function field(path: string): Operand {
  return new Operand(made({ kind: { case: "field", value: path } }));
}

/** A constant, where one stands on the left. */
export function constant(value: Value): Operand {
  return new Operand(literal(value));
}

export function allOf(...conditions: Condition[]): Condition {
  return made({ kind: { case: "allOf", value: { expressions: conditions } } });
}

export function anyOf(...conditions: Condition[]): Condition {
  return made({ kind: { case: "anyOf", value: { expressions: conditions } } });
}

export function not(condition: Condition): Condition {
  return made({ kind: { case: "negation", value: condition } });
}

/** A condition as the `query` of a request. */
export function query(condition: Condition): Query {
  return create(QuerySchema, { expr: condition });
}

function made(init: Init): Expression {
  return create(ExpressionSchema, init);
}

function operandOf(value: Value | Operand): Expression {
  return value instanceof Operand ? value.expression : literal(value);
}

function literal(value: Value): Expression {
  switch (typeof value) {
    case "string":
      return made({ kind: { case: "literal", value: { value: { case: "stringValue", value } } } });
    case "boolean":
      return made({ kind: { case: "literal", value: { value: { case: "boolValue", value } } } });
    case "bigint":
      if (BigInt.asIntN(64, value) !== value) throw new RangeError(`${value} has more than 64 bits`);
      return made({ kind: { case: "literal", value: { value: { case: "intValue", value } } } });
    case "number":
      if (!Number.isFinite(value)) throw new RangeError(`${value} is no number of JSON`);
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? made({ kind: { case: "literal", value: { value: { case: "intValue", value: BigInt(value) } } } })
        : made({ kind: { case: "literal", value: { value: { case: "doubleValue", value } } } });
    default:
      if (value !== null) throw new TypeError(`a ${typeof value} is no value of a query`);
      return made({ kind: { case: "literal", value: { value: { case: "nullValue", value: 0 } } } });
  }
}

/** A comparison with null finds nothing, silently. */
function refuseNull(expression: Expression): void {
  if (expression.kind.case === "literal" && expression.kind.value.value.case === "nullValue") {
    throw new TypeError("a comparison with null finds nothing; write not(field(…).exists())");
  }
}
