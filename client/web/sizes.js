// What a page pays for: bundles of typical imports, minified, in bytes and as gzip. `--check` fails where the README says
// another size, by more than one part in fifty.
import { build } from "esbuild";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const from = 'from "@plaudit/client"';
const uses = {
  "`SubmitService` with a transport": `import { connect, createClient, SubmitService } ${from};
    export const client = createClient(SubmitService, connect({ baseUrl: "/" }));`,
  "`FeedbackService` with a transport": `import { connect, createClient, FeedbackService } ${from};
    export const client = createClient(FeedbackService, connect({ baseUrl: "/" }));`,
  "and paging, watch, the query builder, errors, records": `export { rows, watch, field, query, connect, createClient,
    FeedbackService, describe, record } ${from};`,
  "everything": `export * ${from};`,
  "`field` and `query` alone": `export { field, query } ${from};`,
  "`queryFromText` and `queryToText` alone": `export { queryFromText, queryToText } ${from};`,
  "`newId` alone": `export { newId } ${from};`,
};
const readme = readFileSync(new URL("README.md", import.meta.url), "utf8");
for (const [name, contents] of Object.entries(uses)) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true, minify: true, format: "esm", write: false, target: "es2022",
  });
  const [{ contents: bytes }] = outputFiles;
  const sizes = [bytes.length, gzipSync(bytes, { level: 9 }).length];
  console.log(`| ${[name, ...sizes.map((size) => size.toLocaleString("en"))].join(" | ")} |`);
  if (!process.argv.includes("--check")) continue;
  const row = readme.split("\n").find((line) => line.startsWith(`| ${name} |`)) ?? "";
  const said = row.split("|").slice(2, 4).map((cell) => Number(cell.replaceAll(",", "")));
  if (said.length < 2 || sizes.some((size, index) => !(Math.abs(size - said[index]) <= size / 50))) {
    console.error(`the README says otherwise: ${row}`);
    process.exitCode = 1;
  }
}
