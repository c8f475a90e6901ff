import type { Client } from '@grpc/grpc-js';

// How the messages of a kind of stubs turn from and to the JSON mapping; types are named like CreateFeedbackRequest.
export interface Messages {
  fromJson(type: string, json: unknown): unknown;
  toJson(type: string, message: unknown): unknown;
}

export interface Stubs extends Messages {
  language: string;
  newId(): string;
  deadline(): unknown;
  explain(status: any): unknown;
  explainError(error: any): unknown;
}

export function play(client: Client, path: string, stubs: Stubs): Promise<void>;
