// Clips come as scripts that call `listenClip`, since a page on a disk may load those and nothing else.
const arrivals = new Map();
const loaded = new Map();

window.listenClip = (token, content) => arrivals.get(token)?.(content);

function fetchClip(token) {
  return new Promise((resolve, reject) => {
    const script = el("script", { src: `clips/${token}.js` });
    const fail = () => reject(new Error(`The sound file ${token}.js cannot be read. Is the folder "clips" beside the page?`));
    arrivals.set(token, (content) => resolve(Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0)).buffer));
    script.addEventListener("error", fail);
    script.addEventListener("load", () => {
      script.remove();
      arrivals.delete(token);
      fail(); // without effect if the clip has arrived
    });
    document.head.append(script);
  });
}

function decoded(context, token) {
  if (!loaded.has(token)) {
    const clip = fetchClip(token).then((bytes) => context.decodeAudioData(bytes));
    clip.catch(() => loaded.delete(token)); // so that the next try asks again
    loaded.set(token, clip);
  }
  return loaded.get(token);
}

// A telephone has no memory for all clips of a test: those of this question and the next are enough.
function keepOnly(tokens) {
  for (const token of [...loaded.keys()]) if (!tokens.includes(token)) loaded.delete(token);
}

function tokensOf(state, id) {
  const { a, b, x, rated, reference } = state.places[id];
  return PLAN.mode === "abx" ? [a, b, x] : reference ? [reference, ...rated] : rated;
}
