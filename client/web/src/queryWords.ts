/** The words of the text form of queries: a text cut into tokens, each with its place; not what they mean together. */

type Kind = "word" | "field" | "number" | "string" | "sign" | "end";

/** A word of the text: its kind, its value, where it begins in UTF-16, and how it is written. */
export interface Token {
  kind: Kind;
  /** Of a keyword or sign itself, in lower case; of a field its path; an integer as bigint, any other number as number. */
  value: string | number | bigint;
  at: number;
  shown: string;
}

/** A text that is no query. */
export class QueryTextError extends Error {
  override readonly name = "QueryTextError";

  /** `character` is the place of the first one that is wrong, counted from 1 in code points. */
  constructor(message: string, readonly character?: number) {
    super(message);
  }
}

/** The longest text of a query, in bytes as UTF-8; a longer query is sent as its tree. */
export const TEXT_BYTES = 16 * 1024;
const KEYWORDS = new Set(["and", "or", "not", "in", "true", "false", "null"]);
/** Words that are functions where a parenthesis follows, in any case. */
export const FUNCTIONS: readonly string[] = ["bool", "exists", "int", "number", "text", "type"];

// Not blanks, signs or quotes; of the code points from U+00C0, all but the blanks of other scripts: as in Python.
const LETTER = "A-Za-z_\\u00c0-\\u1fff\\u3001-\\ufefe\\uff00-\\u{10ffff}";
const BARE_PATH = new RegExp(`[${LETTER}](?:[${LETTER}0-9.\\-]|\\\\\\.)*`, "uy");
const BLANKS = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const STRING = /"(?:[^"\\]|\\.)*"/sy;
const QUOTED_PATH = /`((?:[^`]|``)*)`/y;
const AFTER_WORD = new RegExp(`[${LETTER}0-9.\\\\\\-]`, "uy");
const SURROGATE = /[\ud800-\udfff]/u; // a lone one, since the pattern reads code points
// The longest first.
const SIGNS = ["!=", "<=", ">=", "~*", "^=", "=", "<", ">", "~", "(", ")", "[", "]", ","];
const IN_PATHS = "write \\. for a dot in a key; write a path with other signs between backticks";
const MISTAKES: readonly (readonly [string, string])[] = [
  ["==", "write = for equal"],
  ["=>", "write >= for greater or equal"],
  ["=<", "write <= for less or equal"],
  ["<>", "write != for not equal"],
  ["=~", "write ~ for contains"],
  ["&", "write and"],
  ["|", "write or"],
  ["!", "write not, or != for not equal"],
  ["'", "write texts between double quotes"],
  ["“", "write texts between double quotes, the straight ones"],
  ["”", "write texts between double quotes, the straight ones"],
  ["+", "write numbers without a plus sign"],
  ["^", "write ^= for begins with"],
  ["$", "write a path that holds a $ between backticks"],
  ["\\", IN_PATHS],
];

/** The error of what begins at a place of the text, which is counted in UTF-16 here and in code points there. */
export function misplaced(text: string, description: string, at: number): QueryTextError {
  const character = Array.from(text.slice(0, at)).length + 1;
  return new QueryTextError(`${description} at character ${character}`, character);
}

/** The tokens of a query's text; the last one is its end. Throws QueryTextError. */
export function cut(text: string): Token[] {
  const surrogate = SURROGATE.exec(text);
  if (surrogate) throw misplaced(text, "a lone surrogate", surrogate.index);
  if (new TextEncoder().encode(text).length > TEXT_BYTES) {
    throw new QueryTextError(`the query is longer than ${TEXT_BYTES} bytes as UTF-8; send the tree instead`);
  }
  const tokens: Token[] = [];
  let at = afterBlanks(text, 0);
  while (at < text.length) {
    const token = tokenAt(text, at);
    tokens.push(token);
    at = afterBlanks(text, at + token.shown.length);
  }
  tokens.push({ kind: "end", value: "", at: text.length, shown: "the end" });
  return tokens;
}

/** A path as it stands in a text: bare, or between backticks. */
export function pathText(path: string): string {
  return match(BARE_PATH, path, 0)?.[0] === path && !isWord(path.toLowerCase()) ? path : `\`${path.replaceAll("`", "``")}\``;
}

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function isWord(lower: string): boolean {
  return KEYWORDS.has(lower) || FUNCTIONS.includes(lower);
}

function afterBlanks(text: string, at: number): number {
  return at + (match(BLANKS, text, at)?.[0].length ?? 0);
}

/** The token that begins at a character which is no blank. */
function tokenAt(text: string, at: number): Token {
  const shown = match(BARE_PATH, text, at)?.[0];
  if (shown !== undefined) {
    const end = at + shown.length;
    if (text[end] === "\\") throw misplaced(text, IN_PATHS, end);
    const lower = shown.toLowerCase();
    return isWord(lower) ? { kind: "word", value: lower, at, shown } : { kind: "field", value: shown, at, shown };
  }
  const character = String.fromCodePoint(text.codePointAt(at)!);
  if ("-0123456789".includes(character)) return numberAt(text, at);
  if (character === '"') return stringAt(text, at);
  if (character === "`") {
    const quoted = match(QUOTED_PATH, text, at);
    if (!quoted) throw misplaced(text, "a path without its second backtick, which begins", at);
    return { kind: "field", value: quoted[1]!.replaceAll("``", "`"), at, shown: quoted[0] };
  }
  const sign = SIGNS.find((one) => text.startsWith(one, at));
  if (sign !== "!=" && sign !== "^=") {
    const mistake = MISTAKES.find(([written]) => text.startsWith(written, at));
    if (mistake) throw misplaced(text, mistake[1], at);
  }
  if (sign === undefined) throw misplaced(text, `unexpected ${named(character)}`, at);
  return { kind: "sign", value: sign, at, shown: sign };
}

function numberAt(text: string, at: number): Token {
  const shown = match(NUMBER, text, at)?.[0];
  if (shown === undefined || match(AFTER_WORD, text, at + shown.length)) {
    const description = "this is neither a JSON number nor a path (a path of these characters stands between backticks)";
    throw misplaced(text, description, at);
  }
  if (!/[.eE]/.test(shown)) {
    if (shown.length > 20 || BigInt.asIntN(64, BigInt(shown)) !== BigInt(shown)) {
      throw misplaced(text, "an integer beyond 64 bits (with .0 at its end it is a double)", at);
    }
    return { kind: "number", value: BigInt(shown), at, shown };
  }
  const value = Number(shown);
  const [digits = ""] = shown.split(/[eE]/);
  if (!Number.isFinite(value) || (value === 0 && /[1-9]/.test(digits))) {
    throw misplaced(text, "a number beyond the range of a double", at);
  }
  return { kind: "number", value, at, shown };
}

function stringAt(text: string, at: number): Token {
  const shown = match(STRING, text, at)?.[0];
  if (shown === undefined) throw misplaced(text, "a text without its second double quote, which begins", at);
  let value: string;
  try {
    value = JSON.parse(shown) as string;
  } catch {
    throw misplaced(text, "a text with a control character, or a backslash that escapes nothing,", at);
  }
  const surrogate = SURROGATE.exec(value);
  if (surrogate) throw misplaced(text, `a text that holds the lone surrogate ${codePoint(surrogate[0])}`, at);
  return { kind: "string", value, at, shown };
}

/** A character for an error's text: itself, or its number where it cannot be seen. */
function named(character: string): string {
  return /[\p{C}\p{Z}]/u.test(character) ? codePoint(character) : character;
}

function codePoint(character: string): string {
  return `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;
}
