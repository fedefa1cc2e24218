// From screen to screen, and from question to question.
const VIEWS = { rating: ratingView, mushra: mushraView, abx: abxView };

class App {
  constructor() {
    this.screen(startScreen(this));
  }

  screen({ element, focus }) {
    this.player?.reset();
    this.question = null;
    stage.replaceChildren(element);
    window.scrollTo(0, 0);
    focus?.focus({ preventScroll: true });
  }

  // Sound may start only after a gesture, hence not before a button was pressed.
  makePlayer() {
    this.player ??= new Player();
    this.player.context.resume();
  }

  async sample(control) {
    this.makePlayer();
    const { player } = this;
    if (player.playing) return player.pause();
    try {
      const [first] = PLAN.questions, token = (first.rated ?? first.pair)[0];
      player.use([token], [await decoded(player.context, token)]);
      player.onchange = () => (control.textContent = player.playing ? "Pause" : "Play a sample");
      player.play();
    } catch (error) {
      control.after(el("span", { class: "warning" }, ` ${error.message}`));
    }
  }

  begin(name) {
    const state = newState(name);
    keep(state);
    this.open(state);
  }

  open(state) {
    this.makePlayer();
    this.state = state;
    if (nAnswered(state) === state.order.length) this.screen(endScreen(this, state));
    else this.go(state.at);
  }

  go(at) {
    const { state } = this;
    state.at = Math.min(Math.max(at, 0), state.order.length - 1);
    keep(state);
    ask(this, state, state.order[state.at]);
  }

  next() {
    const { state, question } = this;
    if (!isAnswered(state, question.id)) return announce(question.view.wants());
    const open = state.order.findIndex((id) => !isAnswered(state, id));
    if (state.at + 1 < state.order.length) this.go(state.at + 1);
    else if (open >= 0) this.go(open);
    else this.screen(endScreen(this, state));
  }
}

function ask(app, state, id) {
  const { player } = app;
  const asked = PLAN.questions.find((question) => question.id === id);
  const heard = (state.heard[id] ??= {});
  const opened = performance.now(), before = state.ms[id] ?? 0;
  const question = {
    id, player, sounded: false, places: state.places[id],
    needed: () => (PLAN.hear_seconds ? Math.min(PLAN.hear_seconds, player.length) : player.length - 0.15),
    isHeard: (token) => player.length > 0 && (heard[token] ?? 0) / 1000 >= question.needed(),
    given: () => state.answers[id] ?? {},
    answer(name, value) {
      state.answers[id] = { ...question.given(), [name]: value };
      state.ms[id] = before + Math.round(performance.now() - opened);
      keep(state);
      show();
    },
    listen(token) {
      question.sounded = true;
      player.select(token);
      player.play();
    },
  };
  const view = (question.view = VIEWS[PLAN.mode](question));
  const controls = transport(player);
  const next = button("Next", () => app.next(), { class: "main" });
  const wants = el("p", { class: "wants" });
  const done = el("progress", { max: state.order.length, value: nAnswered(state), "aria-label": "Questions answered" });

  function show() {
    controls.show();
    view.show();
    const answered = isAnswered(state, id);
    next.setAttribute("aria-disabled", String(!answered));
    wants.textContent = answered ? "" : view.wants();
    done.value = nAnswered(state);
  }

  const heading = el("h1", { tabindex: "-1" }, `Question ${state.at + 1} of ${state.order.length}`);
  app.screen({
    focus: heading,
    element: el("div", { class: "card" },
      el("div", { class: "top" }, heading, done),
      simulatedNote(), storeWorks ? null : el("p", { class: "warning" }, "This browser keeps nothing: do not close the page before you have saved your answers."),
      el("blockquote", {}, asked.caption), controls.element, view.element, wants,
      el("div", { class: "buttons" }, button("Back", () => app.go(state.at - 1), { disabled: state.at === 0 }), next,
        button("Stop here", () => app.screen(endScreen(app, state)), { class: "quiet" })), keyHelp()),
  });
  app.question = question;
  player.onchange = () => {
    question.sounded ||= player.playing;
    if (!player.playing) keep(state);
    show();
  };
  player.onheard = (token, seconds) => {
    heard[token] = (heard[token] ?? 0) + Math.round(seconds * 1000);
  };
  player.onplay = () => {
    state.plays[id] = (state.plays[id] ?? 0) + 1;
  };
  load(app, state, id, show, wants);
}

async function load(app, state, id, show, wants) {
  const next = state.order[state.at + 1];
  const tokens = tokensOf(state, id), ahead = next ? tokensOf(state, next) : [];
  keepOnly([...tokens, ...ahead]);
  show();
  try {
    const buffers = await Promise.all(tokens.map((token) => decoded(app.player.context, token)));
    if (app.question?.id !== id) return; // the listener has gone on meanwhile
    app.player.use(tokens, buffers);
    show();
    await Promise.all(ahead.map((token) => decoded(app.player.context, token)));
  } catch (error) {
    wants.textContent = error.message;
    wants.classList.add("warning");
  }
}

const app = new App();

document.addEventListener("keydown", (event) => {
  const { question, player } = app, target = event.target;
  if (!question || event.ctrlKey || event.metaKey || event.altKey || isTextField(target)) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const isSlider = target.matches("input[type=range]");
  const isRadio = target.matches("input[type=radio]");
  // What has the focus keeps the keys that the browser gives it.
  if (isButton(target) && (name === " " || name === "Enter")) return;
  if ((isSlider || isRadio) && name.startsWith("Arrow")) return;
  if (isRadio && name === " " && !target.checked) return;
  if (name === "Enter") app.next();
  else if (name === "Backspace") app.go(app.state.at - 1);
  else if (!question.view.key(name) && !transportKey(player, name)) return;
  event.preventDefault();
});

addEventListener("pagehide", () => app.state && keep(app.state));
