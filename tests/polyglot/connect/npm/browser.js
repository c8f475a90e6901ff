// A real Chromium on a page of another origin: the typed client, and the components under a strict policy.
// `node browser.js '{"http": …, "page": port, "project": …, "reaction": token, "rating": token, "mail": url, "chromium": …}'`
import { build } from "esbuild";
import axe from "axe-core";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const asked = JSON.parse(process.argv[2]);
const { outputFiles } = await build({
  entryPoints: [new URL("page.js", import.meta.url).pathname], bundle: true, format: "iife", write: false, target: "es2022",
});
const hashes = await (await fetch(`${asked.http}/embed/integrity.json`)).json();
const script = (name) => `<script type="module" src="${asked.http}/embed/${name}" integrity="${hashes[name]}" crossorigin="anonymous"></script>`;
const pages = {
  "/client": ["script-src 'self'", `<script src="/page.js"></script>`],
  "/components": [`script-src ${asked.http}`, `${script("plaudit-reactions.js")}${script("plaudit-rating.js")}
    <plaudit-reactions server="${asked.http}" token="${asked.reaction}" emojis="👍 👎" labels="Good, Bad"></plaudit-reactions>
    <plaudit-rating server="${asked.http}" token="${asked.rating}" type="answer.rating" label="This answer"></plaudit-rating>`],
};
const server = createServer((request, response) => {
  if (request.url === "/page.js") return response.setHeader("content-type", "text/javascript").end(outputFiles[0].contents);
  const [scripts, body] = pages[request.url] ?? ["", ""];
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.setHeader("content-security-policy", `default-src 'none'; ${scripts}; connect-src ${asked.http}`);
  response.end(`<!doctype html><html lang="en"><title>Product</title><main><h1>Answer</h1>${body}</main></html>`);
}).listen(asked.page, "127.0.0.1");

const limit = (promise, step) =>
  Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error(`${step}: nothing within 60 s`)), 60_000))]);

const browser = await chromium.launch({ executablePath: asked.chromium, args: ["--no-sandbox"] });
const done = {};
const errors = [];
try {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));

  await page.goto(`http://127.0.0.1:${asked.page}/client`);
  Object.assign(done, await limit(page.evaluate(({ http, project }) => window.calls(http, project), asked), "calls of the client"));
  errors.length = 0; // a refused call is an error of the console's, too

  await page.goto(`http://127.0.0.1:${asked.page}/components`);
  const stored = () =>
    page.evaluate(() => new Promise((resolve, reject) => {
      document.addEventListener("plaudit-stored", (e) => resolve(e.detail), { once: true });
      document.addEventListener("plaudit-error", (e) => reject(e.detail), { once: true });
      setTimeout(() => reject(new Error("no event within 20 s")), 20_000);
    }));
  const press = async (name) => {
    const event = stored();
    await page.getByRole("button", { name }).click();
    return event;
  };
  const steps = [];
  steps.push(await press("Good"));
  const pressed = await page.getByRole("button", { name: "Good" }).getAttribute("aria-pressed");
  await page.reload();
  await page.waitForFunction(() => document.querySelector("plaudit-reactions").value === "👍");
  steps.push(await press("Bad"));
  // With the keyboard: from one button to the next, and pressed by the space bar.
  const byKey = stored();
  await page.getByRole("button", { name: "Bad" }).focus();
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Space");
  steps.push(await byKey);
  steps.push(await press("Good")); // pressed again: taken back
  const rated = stored();
  await page.getByRole("radio", { name: "3 / 5" }).focus();
  await page.keyboard.press("ArrowRight");
  steps.push(await rated);
  done.components = {
    steps: steps.map(({ value, feedback }) => [value, feedback?.id ?? "", Number(feedback?.version ?? 0)]),
    pressed,
    value: await page.evaluate(() => [document.querySelector("plaudit-reactions").value, document.querySelector("plaudit-rating").value]),
    errors,
  };

  // Checked by a script of the tests' own, which the page's policy would not let in.
  const free = await (await browser.newContext({ bypassCSP: true })).newPage();
  await free.goto(`http://127.0.0.1:${asked.page}/components`);
  await free.addScriptTag({ content: axe.source });
  const { violations } = await free.evaluate(() => window.axe.run());
  done.axe = violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]);

  const mail = await context.newPage();
  await mail.goto(asked.mail);
  await mail.getByRole("button", { name: "Send" }).click();
  await mail.waitForSelector("text=Thank you");
  done.mail = await mail.title();
  await mail.addScriptTag({ content: "1" }).then(() => (done.mailScripts = true), () => (done.mailScripts = false));
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify(done));
process.exit(0);
