// The screens before and after the questions.
const TEXTS = {
  rating: ["You hear one sound at a time, with the text that it was made from. Say how well the sound matches the text, from 1 to 5.",
    "Listen to each sound to its end before you answer. You may listen as often as you like."],
  mushra: ["You compare several sounds with a reference. Say how close each of them is to it, from 0 to 100.",
    "One of the sounds is the reference itself, and some are bad on purpose. Switching keeps the place in the sound."],
  abx: ["You hear two sounds, A and B, and a third one, X, that is the same as one of them. Say which.",
    "Switching keeps the place in the sound. If you cannot tell, guess: that is an answer, too."],
};
const KEYS = {
  rating: [["Space", "play or pause"], ["1", "to"], ["5", "answer"], ["Enter", "next question"]],
  mushra: [["Space", "play or pause"], ["R", "the reference"], ["A", "B, C … the sounds"], ["← →", "move a slider"], ["Enter", "next question"]],
  abx: [["Space", "play or pause"], ["A", ""], ["B", ""], ["X", "listen"], ["1", "X is A"], ["2", "X is B"], ["Enter", "next question"]],
};

function keyHelp() {
  const more = [["← →", "half a second back or on"], ["O", "loop"], ["[", ""], ["]", "loop from here, to here"], ["\\", "whole clip"], ["Backspace", "back"]];
  const list = (keys) => el("p", { class: "keys" }, keys.map(([name, what]) => [key(name), ` ${what} `]));
  return el("details", { class: "help keyboard" }, el("summary", {}, "Keys"), list(KEYS[PLAN.mode]), list(more));
}

function simulatedNote() {
  return SIMULATED ? el("p", { class: "warning" }, "Simulated listener: these answers are marked as simulated.") : null;
}

function startScreen(app) {
  const name = el("input", { type: "text", id: "name", maxlength: MAX_NAME, autocomplete: "off", spellcheck: "false" });
  const begin = button("Begin", () => app.begin(name.value), { class: "main" });
  name.addEventListener("keydown", (event) => event.key === "Enter" && !event.isComposing && app.begin(name.value));
  const sample = button("Play a sample", () => app.sample(sample), {});
  const others = kept();
  const resume = others.map((state) => {
    const done = nAnswered(state);
    const what = state.handed ? "handed in" : `${done} of ${plural(state.order.length, "question")} answered`;
    return el("li", {}, button(`Continue${state.name ? ` as ${state.name}` : ""}`, () => app.open(state), { class: "resume" }), el("span", {}, what));
  });
  const page = el("div", { class: "card" },
    el("h1", {}, PLAN.title), simulatedNote(),
    resume.length ? el("section", { class: "kept" }, el("h2", {}, "You have been here before"), el("ul", {}, resume)) : null,
    TEXTS[PLAN.mode].map((text) => el("p", {}, text)),
    el("p", {}, `There are ${plural(PLAN.questions.length, "question")}. Your answers stay in this browser as you go, so that you may pause, close the page and come back.`),
    el("h2", {}, "Set your volume"),
    el("p", {}, "Use headphones in a quiet room. Choose a volume that is pleasant now, and leave it as it is. On a telephone, switch silent mode off."),
    el("p", {}, sample),
    el("h2", {}, "Who are you?"),
    el("p", { class: "field" }, el("label", { for: "name" }, "A name or a code, or nothing"), name),
    el("p", { class: "note" }, "It is handed in with your answers, and nothing else about you is."),
    el("p", {}, begin), keyHelp());
  return { element: page, focus: others.length ? page.querySelector(".resume") : name };
}

function endScreen(app, state) {
  const done = nAnswered(state), all = state.order.length, overHttp = location.protocol.startsWith("http");
  const comment = el("textarea", { id: "comment", rows: 4, maxlength: MAX_COMMENT, oninput: () => {
    state.comment = comment.value;
    keep(state);
  } }, state.comment);
  const said = el("p", { class: "said", role: "status" }, state.handed);
  const text = el("textarea", { class: "raw", rows: 5, readonly: true, "aria-label": "Your answers as text" });
  const save = button("Save my answers as a file", () => {
    download(state);
    said.textContent = "Saved in your downloads. Send the file to whoever asked you to listen.";
  }, { class: overHttp ? "" : "main" });
  let sending = false; // a disabled button would lose the focus
  const hand = button("Hand in", async () => {
    if (sending) return;
    sending = true;
    said.textContent = await handIn(state);
    sending = false;
  }, { class: "main" });
  const lead = done === all ? "Thank you. That was the last question." : `You have answered ${done} of ${plural(all, "question")}. You may hand in what you have, or go on.`;
  const page = el("div", { class: "card" },
    el("h1", {}, done === all ? "Finished" : "Pause"), simulatedNote(), el("p", {}, lead),
    el("p", { class: "field" }, el("label", { for: "comment" }, "Is there anything to add? (optional)"), comment),
    el("p", { class: "buttons" }, overHttp ? hand : null, save, button("Back to the questions", () => app.go(state.at))), said,
    el("details", { class: "help", ontoggle: () => (text.value = answersFile(state)) }, el("summary", {}, "Saving does not work?"),
      el("p", {}, "Copy this text into a message."), text));
  return { element: page, focus: overHttp ? hand : save };
}

function download(state) {
  const address = URL.createObjectURL(new Blob([answersFile(state)], { type: "application/json" }));
  // The name of a listener is no name for a file.
  const link = el("a", { href: address, download: `answers-${PLAN.test}-${state.id}.json` });
  stage.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

async function handIn(state) {
  const instead = " Save your answers as a file instead, and send it to whoever asked you to listen.";
  try {
    const reply = await fetch("answers", { method: "POST", headers: { "Content-Type": "application/json" }, body: answersFile(state) });
    const said = reply.headers.get("Content-Type")?.startsWith("application/json") ? (await reply.json()).message : "";
    if (!said) return `Nobody collects answers at this address.${instead}`;
    if (reply.ok || reply.status === 409) {
      state.handed = said;
      keep(state);
      return said;
    }
    return said + instead;
  } catch {
    return `The answers could not be sent. They are kept here.${instead}`;
  }
}
