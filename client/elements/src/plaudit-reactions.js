// <plaudit-reactions server="https://feedback.acme.dev" token="…" emojis="👍 👎"></plaudit-reactions>
// Buttons that send a reaction with a feedback token: one is pressed at a time, pressed again it is taken back.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`:host{display:inline-flex;gap:.25em}
button{font:inherit;line-height:1.2;padding:.2em .4em;border:1px solid #767676;border-radius:.5em;background:none;color:inherit;cursor:pointer}
button[aria-pressed=true]{background:#cfe3ff;border-color:#0b57d0}
button:focus-visible{outline:2px solid #0b57d0;outline-offset:2px}
button:disabled{opacity:.6;cursor:default}
p{position:absolute;width:1px;height:1px;margin:0;overflow:hidden;clip-path:inset(50%)}`);

class PlauditReactions extends HTMLElement {
  static observedAttributes = ["server", "token", "emojis", "labels"];
  #busy = Promise.resolve();
  #value = "";

  /** The emoji that is pressed, or an empty text. */
  get value() {
    return this.#value;
  }

  connectedCallback() {
    if (!this.shadowRoot) {
      this.attachShadow({ mode: "open", delegatesFocus: true }).adoptedStyleSheets = [sheet];
      this.setAttribute("role", this.getAttribute("role") || "group");
      if (!this.hasAttribute("aria-label")) this.setAttribute("aria-label", "Feedback");
    }
    this.#draw();
    this.#read();
  }

  attributeChangedCallback(name) {
    if (!this.shadowRoot) return;
    this.#draw();
    if (name === "token" || name === "server") this.#read();
  }

  #draw() {
    const labels = (this.getAttribute("labels") || "").split(",");
    const status = document.createElement("p");
    status.setAttribute("role", "status");
    this.shadowRoot.replaceChildren(
      ...(this.getAttribute("emojis") || "👍 👎").trim().split(/\s+/).map((emoji, index) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = emoji;
        button.dataset.emoji = emoji;
        const label = (labels[index] || "").trim();
        if (label) button.setAttribute("aria-label", label);
        button.onclick = () => this.#press(emoji);
        return button;
      }),
      status,
    );
    this.#show(this.#value);
  }

  #show(value) {
    this.#value = value;
    for (const button of this.shadowRoot.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset.emoji === value));
  }

  // One after the other, so that the last press is the one that stays.
  #press(emoji) {
    const before = this.#value;
    const after = before === emoji ? "" : emoji;
    this.#show(after);
    this.#busy = this.#busy.then(async () => {
      try {
        const feedbackType = "wandb.reaction.1";
        const answer = after
          ? await this.#call("SubmitFeedback", { feedback: { feedbackType, payloadJson: JSON.stringify({ emoji }) } })
          : await this.#call("RetractFeedback", { feedbackType });
        this.#tell("stored", { value: after, feedback: answer.feedback });
      } catch (error) {
        if (this.#value === after) this.#show(before);
        this.#tell("error", { code: error.code, message: error.message });
      }
    });
  }

  async #read() {
    if (!this.getAttribute("token")) return;
    try {
      const { feedback = [] } = await this.#call("GetSubmission", {});
      const mine = feedback.find((one) => one.feedbackType === "wandb.reaction.1");
      if (mine) this.#show(JSON.parse(mine.payloadJson).emoji);
    } catch {
      // Nothing is pressed, as far as can be known; a press says what is wrong.
    }
  }

  async #call(method, body) {
    const server = (this.getAttribute("server") || "").replace(/\/+$/, "");
    const response = await fetch(`${server}/plaudit.v1.SubmitService/${method}`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${this.getAttribute("token")}` },
      body: JSON.stringify(body),
      keepalive: true,
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
    const answer = await response.json();
    if (response.ok) return answer;
    throw Object.assign(new Error(answer.message), { code: answer.code });
  }

  #tell(what, detail) {
    this.shadowRoot.querySelector("p").textContent =
      this.getAttribute(`data-${what}`) || (what === "stored" ? "Feedback saved" : "Feedback could not be saved");
    this.dispatchEvent(new CustomEvent(`plaudit-${what}`, { detail, bubbles: true, composed: true }));
  }
}

customElements.get("plaudit-reactions") || customElements.define("plaudit-reactions", PlauditReactions);
export { PlauditReactions };
