// <plaudit-rating server="https://feedback.acme.dev" token="…" type="answer.rating" max="5"></plaudit-rating>
// Stars that send a whole number from 1 as the payload's `rating`: a group of radio buttons, as browsers make them.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`:host{display:inline-block}
fieldset{border:0;margin:0;padding:0;display:inline-flex}
legend,input,p{position:absolute;width:1px;height:1px;margin:0;padding:0;overflow:hidden;clip-path:inset(50%)}
label{cursor:pointer;font-size:1.5em;line-height:1.2;padding:0 .08em;color:#767676;position:relative}
label.on{color:#a15c00}
label:focus-within{outline:2px solid #0b57d0;border-radius:.2em}`);

class PlauditRating extends HTMLElement {
  static observedAttributes = ["server", "token", "type", "max"];
  #busy = Promise.resolve();
  #value = 0;

  /** How many stars are chosen; 0 for none. */
  get value() {
    return this.#value;
  }

  connectedCallback() {
    if (!this.shadowRoot) this.attachShadow({ mode: "open", delegatesFocus: true }).adoptedStyleSheets = [sheet];
    this.#draw();
    this.#read();
  }

  attributeChangedCallback(name) {
    if (!this.shadowRoot) return;
    this.#draw();
    if (name !== "max") this.#read();
  }

  #draw() {
    const make = (name, ...inner) => {
      const element = document.createElement(name);
      element.append(...inner);
      return element;
    };
    const set = make("fieldset", make("legend", this.getAttribute("label") || "Rating"));
    const most = Math.min(Math.max(Number(this.getAttribute("max")) || 5, 2), 10);
    for (let stars = 1; stars <= most; stars++) {
      const input = make("input");
      Object.assign(input, { type: "radio", name: "stars", value: stars, onchange: () => this.#choose(stars) });
      input.setAttribute("aria-label", `${stars} / ${most}`);
      set.append(make("label", input, "★"));
    }
    const status = make("p");
    status.setAttribute("role", "status");
    this.shadowRoot.replaceChildren(set, status);
    this.#show(this.#value);
  }

  #show(value) {
    this.#value = value;
    this.shadowRoot.querySelectorAll("label").forEach((label, index) => {
      label.classList.toggle("on", index < value);
      label.firstChild.checked = index + 1 === value;
    });
  }

  // One after the other, so that the last choice is the one that stays.
  #choose(value) {
    const before = this.#value;
    this.#show(value);
    this.#busy = this.#busy.then(async () => {
      try {
        const feedback = { payloadJson: JSON.stringify({ rating: value }) };
        if (this.getAttribute("type")) feedback.feedbackType = this.getAttribute("type");
        const answer = await this.#call("SubmitFeedback", { feedback });
        this.#tell("stored", { value, feedback: answer.feedback });
      } catch (error) {
        if (this.#value === value) this.#show(before);
        this.#tell("error", { code: error.code, message: error.message });
      }
    });
  }

  async #read() {
    if (!this.getAttribute("token")) return;
    try {
      const { feedback = [] } = await this.#call("GetSubmission", {});
      const type = this.getAttribute("type");
      const mine = feedback.find((one) => !type || one.feedbackType === type);
      if (mine) this.#show(Number(JSON.parse(mine.payloadJson).rating) || 0);
    } catch {
      // Nothing is chosen, as far as can be known; a choice says what is wrong.
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

customElements.get("plaudit-rating") || customElements.define("plaudit-rating", PlauditRating);
export { PlauditRating };
