import type { Client } from '@grpc/grpc-js';

// Converts the messages of one kind of stubs from and to the JSON mapping; a type is named like CreateFeedbackRequest.
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

// The clients are named like their services: FeedbackService.
export function play(clients: Record<string, Client>, path: string, stubs: Stubs): Promise<void>;
