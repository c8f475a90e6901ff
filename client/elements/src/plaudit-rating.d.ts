/** `<plaudit-rating server token type max label>`: a number of stars, sent with a feedback token. */
export declare class PlauditRating extends HTMLElement {
  /** How many stars are chosen; 0 for none. */
  get value(): number;
}

declare global {
  interface HTMLElementTagNameMap {
    "plaudit-rating": PlauditRating;
  }
}
