// What a listener has done so far, kept in the browser after every step, by test and listener.
const PREFIX = `audioptq-listen:${PLAN.test}:`;
const memory = new Map();
let storeWorks = true;

function keep(state) {
  memory.set(state.id, state);
  try {
    localStorage.setItem(PREFIX + state.id, JSON.stringify(state));
  } catch {
    storeWorks = false; // private windows and full disks: the page says so, and goes on
  }
}

function kept() {
  const states = new Map(memory);
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const name = localStorage.key(i);
      const state = name.startsWith(PREFIX) ? parsed(localStorage.getItem(name)) : null;
      if (state && !states.has(state.id)) states.set(state.id, state);
    }
  } catch {
    storeWorks = false;
  }
  return [...states.values()].sort((a, b) => (a.started < b.started ? 1 : -1));
}

// A state as it was kept, or null if it is damaged or another test's.
function parsed(text) {
  try {
    const state = JSON.parse(text);
    const known = new Set(PLAN.questions.map((question) => question.id));
    const whole = state.stamp === PLAN.stamp && state.order.every((id) => known.has(id) && state.places[id]);
    return whole && state.answers && state.heard && state.plays && state.ms ? state : null;
  } catch {
    return null;
  }
}

function newState(name) {
  const id = hex(crypto.getRandomValues(new Uint8Array(8)));
  const random = randomBy(`${PLAN.test} ${id}`);
  const questions = shuffled(PLAN.questions, random);
  return {
    id,
    name: wellFormed(name.trim().slice(0, MAX_NAME)),
    stamp: PLAN.stamp,
    simulated: SIMULATED,
    started: new Date().toISOString(),
    order: questions.map((question) => question.id),
    places: Object.fromEntries(questions.map((question) => [question.id, placesOf(question, random)])),
    at: 0,
    answers: {},
    heard: {},
    plays: {},
    ms: {},
    comment: "",
    handed: "",
  };
}

// Which clip stands at which place of a question, for this listener.
function placesOf(question, random) {
  if (PLAN.mode === "abx") {
    const [a, b] = shuffled(question.pair, random);
    return { a, b, x: shuffled(question.x, random)[0] };
  }
  return { rated: shuffled(question.rated, random), reference: question.reference ? question.reference[0] : "" };
}

function isAnswered(state, id) {
  const answer = state.answers[id];
  if (!answer) return false;
  if (PLAN.mode === "abx") return Boolean(answer.choice);
  return state.places[id].rated.every((token) => Number.isInteger(answer[token]));
}

function nAnswered(state) {
  return state.order.filter((id) => isAnswered(state, id)).length;
}

// The file that a listener hands in. Its checksum shows what is altered afterwards by accident or by hand.
function answersFile(state) {
  const answers = state.order.filter((id) => state.answers[id]).map((id) => {
    const { a, b, x } = state.places[id];
    const given = PLAN.mode === "abx" ? { a, b, x, choice: state.answers[id].choice } : { values: state.answers[id] };
    return { question: id, ...given, heard: state.heard[id] ?? {}, plays: state.plays[id] ?? 0, ms: state.ms[id] ?? 0 };
  });
  const body = {
    format: "audioptq-listening-answers",
    version: 1,
    test: PLAN.test,
    stamp: PLAN.stamp,
    mode: PLAN.mode,
    listener: { id: state.id, name: state.name },
    simulated: state.simulated || SIMULATED,
    started: state.started,
    saved: new Date().toISOString(),
    complete: nAnswered(state) === state.order.length,
    comment: wellFormed(state.comment.slice(0, MAX_COMMENT)),
    order: state.order,
    answers,
  };
  return JSON.stringify({ ...body, checksum: hmac(PLAN.stamp, canonical(body)) }, null, 1);
}
