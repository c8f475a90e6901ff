// Plays a conversation with the server; docs/polyglot.md explains the parts of its steps.
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { Metadata } from '@grpc/grpc-js';

const STREAMS = new Set(['IngestFeedback', 'ImportFeedback', 'StreamFeedback', 'WatchFeedback']);

export async function play(clients, path, stubs) {
  const { steps } = JSON.parse(readFileSync(path, 'utf8'));
  const variables = { project: `polyglot/${stubs.language}-${stubs.newId()}` };
  for (const step of steps) {
    const client = clients[step.service ?? 'FeedbackService'];
    await playStep(client, substitute(step, variables, stubs.newId), variables, stubs);
    console.log('ok:', step.step);
  }
  console.log(`${steps.length} steps, all as expected`);
}

// Replaces variables by their values; one named id.… is a new UUIDv7 at its first use.
function substitute(step, variables, newId) {
  const value = (_all, name) => (variables[name] ??= name.startsWith('id.') ? newId() : undefined);
  return JSON.parse(JSON.stringify(step).replaceAll(/\$\{([\w.]+)\}/g, value));
}

async function playStep(client, step, variables, stubs) {
  let answer;
  try {
    answer = await (STREAMS.has(step.call) ? stream(client, step, stubs) : unary(client, step, stubs));
  } catch (error) {
    if (!step.refused || error.code === undefined) throw error;
    answer = { refused: stubs.explainError(error) };
  }
  const wrong = difference(step.refused ? { refused: step.refused } : step.expect, answer, 'answer');
  if (wrong) throw new Error(`${step.step}: ${wrong}`);
  for (const [name, path] of Object.entries(step.keep ?? {})) {
    variables[name] = path.split('.').reduce((value, part) => value[part], answer);
  }
}

const methodName = (call) => call[0].toLowerCase() + call.slice(1);

function unary(client, { call, send }, stubs) {
  return new Promise((resolve, reject) => {
    const request = stubs.fromJson(`${call}Request`, send);
    client[methodName(call)](request, new Metadata(), stubs.deadline(), (error, response) =>
      error ? reject(error) : resolve(toJson(call, response, stubs)),
    );
  });
}

async function stream(client, { call, send, collect, expect }, stubs) {
  const method = client[methodName(call)].bind(client);
  let messages;
  if (Array.isArray(send)) {
    messages = method(new Metadata(), stubs.deadline());
    for (const message of send) messages.write(stubs.fromJson(`${call}Request`, message));
    messages.end();
  } else {
    messages = method(stubs.fromJson(`${call}Request`, send), new Metadata(), stubs.deadline());
  }
  const answer = [];
  for await (const message of messages) {
    const json = toJson(call, message, stubs);
    answer.push(...(collect ? (json[collect] ?? []) : [json]));
    if (collect && answer.length >= (expect?.length ?? 0)) break; // Leaving the loop cancels the call.
  }
  return answer;
}

// A response in the JSON mapping; the statuses of single records become refusals.
function toJson(call, response, stubs) {
  const json = { ...stubs.toJson(`${call}Response`, response) };
  for (const list of ['results', 'rejected']) {
    if (json[list]) {
      json[list] = json[list].map((item, n) => {
        const { status } = response[list][n];
        return status ? { ...item, status: stubs.explain(status) } : item;
      });
    }
  }
  return json;
}

// Where an answer is not as expected: null means absent, "*" anything; other keys are allowed.
function difference(expected, actual, path) {
  const wrong = `${path}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`;
  if (expected === null || expected === '*') return (actual === undefined) === (expected === null) ? undefined : wrong;
  if (typeof expected !== 'object') return isDeepStrictEqual(expected, actual) ? undefined : wrong;
  if (typeof actual !== 'object' || (Array.isArray(expected) && actual.length !== expected.length)) return wrong;
  for (const [key, value] of Object.entries(expected)) {
    const found = difference(value, actual[key], `${path}.${key}`);
    if (found) return found;
  }
  return undefined;
}
