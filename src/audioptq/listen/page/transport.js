// The one transport of a question: play, position, loop and the stretch that is looped.
function transport(player) {
  const play = button("", () => player.toggle(), { class: "play" });
  const position = el("input", { type: "range", min: 0, step: "any", value: 0, "aria-label": "Position", disabled: true });
  const time = el("span", { class: "time" });
  const loop = button("Loop", () => player.setLoop(!player.loop), { class: "toggle", title: "Play again and again (O)" });
  const from = button("From here", () => player.setStretch(player.position(), player.to), { title: "Loop from here ([)" });
  const to = button("To here", () => player.setStretch(player.from, player.position()), { title: "Loop to here (])" });
  const whole = button("Whole clip", () => player.setStretch(0, null), { title: "Loop the whole clip (\\)" });
  const stretch = el("span", { class: "stretch" });
  position.addEventListener("input", () => player.seek(Number(position.value)));
  // A click on the bar leaves Space to play.
  position.addEventListener("pointerup", () => stage.focus({ preventScroll: true }));

  function show() {
    const ready = player.buffers.size > 0;
    play.textContent = player.playing ? "Pause" : "Play";
    play.classList.toggle("on", player.playing);
    loop.setAttribute("aria-pressed", String(player.loop));
    const cut = player.from > 0 || player.to !== null;
    for (const control of [play, loop, from, to, position]) control.disabled = !ready;
    whole.disabled = !cut;
    position.max = player.length;
    position.value = player.position();
    position.setAttribute("aria-valuetext", clock(player.position()));
    time.textContent = ready ? `${clock(player.position())} / ${clock(player.length)}` : "loading …";
    stretch.hidden = !cut;
    stretch.style.left = `${(100 * player.from) / (player.length || 1)}%`;
    stretch.style.width = `${(100 * (player.end - player.from)) / (player.length || 1)}%`;
  }

  const bar = el("div", { class: "bar" }, position, stretch);
  const element = el("div", { class: "transport", role: "group", "aria-label": "Playback" },
    play, el("div", { class: "timeline" }, bar, time), el("div", { class: "loops" }, loop, from, to, whole));
  return { element, show };
}

// Keys of the transport; true if one was meant.
function transportKey(player, name) {
  const actions = {
    " ": () => player.toggle(),
    o: () => player.setLoop(!player.loop),
    "[": () => player.setStretch(player.position(), player.to),
    "]": () => player.setStretch(player.from, player.position()),
    "\\": () => player.setStretch(0, null),
    ArrowLeft: () => player.seek(player.position() - 0.5),
    ArrowRight: () => player.seek(player.position() + 0.5),
  };
  if (!actions[name] || !player.buffers.size) return false;
  actions[name]();
  return true;
}

// A button that makes one of a question's clips the one that sounds; playing starts with it, and a second press pauses.
function listenButton(question, token, label, name) {
  const { player } = question;
  const press = () => (player.playing && player.active === token ? player.pause() : question.listen(token));
  return button(label, press, { class: "listen", "data-token": token, title: `Listen to ${name}` });
}

function showListenButtons(root, question) {
  for (const one of root.querySelectorAll(".listen")) {
    const { token } = one.dataset;
    one.setAttribute("aria-pressed", String(question.player.active === token && question.sounded));
    one.classList.toggle("heard", question.isHeard(token));
    one.disabled = !question.player.buffers.size;
  }
}
