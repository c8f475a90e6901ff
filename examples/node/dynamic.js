// Stores a 👍 and reads it back with stubs made at run time, so nothing is generated: plain JavaScript.
// `node dynamic.js TARGET`, or `node dynamic.js TARGET CONVERSATION` to play a conversation (see conversation.js).
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { v7 as newId } from 'uuid';
import { play } from './conversation.js';

const path = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const PROJECT = 'acme/chat';
const REF = 'weave:///acme/chat/call/0192';

// The time for every unary call, including its retries.
const deadline = () => ({ deadline: Date.now() + 20_000 });

// 64-bit numbers as strings, because JavaScript numbers are exact only up to 2^53; enums by their names.
const files = ['feedback_service', 'analytics_service', 'definition_service'].map((name) => `plaudit/v1/${name}.proto`);
const definition = loadSync([...files, 'google/rpc/error_details.proto'], {
  includeDirs: [path('proto'), path('third_party')],
  longs: String,
  enums: String,
});
const { FeedbackService, AnalyticsService, DefinitionService } = grpc.loadPackageDefinition(definition).plaudit.v1;

function connect(target) {
  return new FeedbackService(target, grpc.credentials.createInsecure(), {
    'grpc.service_config': readFileSync(path('proto/plaudit/v1/feedback_grpc_service_config.json'), 'utf8'),
  });
}

// A client of another service, on the same channel.
function beside(client, Service) {
  return new Service('', grpc.credentials.createInsecure(), { channelOverride: client.getChannel() });
}

// The details of a google.rpc.Status.
function explain(status) {
  const refusal = { code: grpc.status[status.code] };
  for (const { type_url, value } of status.details ?? []) {
    const type = type_url.slice(type_url.lastIndexOf('/') + 1);
    if (!definition[type]) continue; // A detail of a newer server.
    const detail = definition[type].deserialize(value);
    if (type === 'google.rpc.ErrorInfo') Object.assign(refusal, { reason: detail.reason, metadata: detail.metadata });
    if (type === 'google.rpc.BadRequest') refusal.fields = detail.fieldViolations.map(({ field }) => field).sort();
    if (type === 'google.rpc.RetryInfo') refusal.retryDelay = detail.retryDelay;
  }
  return refusal;
}

// The same for a call's error, whose status is in the trailers.
function explainError(error) {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const details = bytes ? definition['google.rpc.Status'].deserialize(bytes).details : [];
  return explain({ code: error.code, details });
}

// A unary call as a promise.
function call(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, new grpc.Metadata(), deadline(), (error, response) => (error ? reject(error) : resolve(response)));
  });
}

async function thumbsUp(client) {
  const feedback = { id: newId(), ref: REF, feedbackType: 'wandb.reaction.1', payloadJson: JSON.stringify({ emoji: '👍' }) };
  const stored = await call(client, 'createFeedback', { project: PROJECT, feedback });
  console.log('stored', stored.feedback.id, stored.feedback.payloadJson);

  const onRef = { expr: { comparison: { op: 'COMPARISON_OP_EQ', left: { field: 'ref' }, right: { literal: { stringValue: REF } } } } };
  let pageToken = '';
  do {
    const page = await call(client, 'queryFeedback', { project: PROJECT, query: onRef, pageToken });
    for (const found of page.feedback ?? []) console.log('found', found.feedbackType, found.payloadJson);
    pageToken = page.nextPageToken;
  } while (pageToken);
}

const [target, conversation] = process.argv.slice(2);
const client = connect(target);
try {
  if (conversation) {
    // Objects of stubs made at run time already have the shape of the JSON mapping.
    const messages = { fromJson: (_type, json) => json, toJson: (_type, message) => message };
    const clients = {
      FeedbackService: client,
      AnalyticsService: beside(client, AnalyticsService),
      DefinitionService: beside(client, DefinitionService),
    };
    await play(clients, conversation, { language: 'node', newId, deadline, explain, explainError, ...messages });
  } else {
    await thumbsUp(client);
  }
} catch (error) {
  console.error(error.code === undefined ? error : { message: error.message, ...explainError(error) });
  process.exitCode = 1;
} finally {
  client.close();
}
