/** `<plaudit-reactions server token emojis labels>`: one reaction of a user, sent with a feedback token. */
export declare class PlauditReactions extends HTMLElement {
  /** The emoji that is pressed, or an empty text. */
  get value(): string;
}

export interface StoredDetail<Value> {
  /** What is stored now. */
  value: Value;
  /** The record in protobuf's JSON form; undefined when it was taken back. */
  feedback?: { id: string; version: string; payloadJson: string };
}

export interface ErrorDetail {
  /** Connect's name of the code, as `permission_denied`; undefined when the server could not be reached. */
  code?: string;
  message: string;
}

declare global {
  interface HTMLElementTagNameMap {
    "plaudit-reactions": PlauditReactions;
  }
  interface HTMLElementEventMap {
    "plaudit-stored": CustomEvent<StoredDetail<string | number>>;
    "plaudit-error": CustomEvent<ErrorDetail>;
  }
}
