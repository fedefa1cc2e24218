// Several clips against an open reference, each from 0 to 100 (ITU-R BS.1534-3).
const BANDS = ["Bad", "Poor", "Fair", "Good", "Excellent"];

function mushraView(question) {
  const { reference, rated } = question.places;
  const rows = rated.map((token, index) => {
    const letter = String.fromCharCode(65 + index);
    const slider = el("input", { type: "range", min: 0, max: 100, step: 1, value: 50, "aria-label": `Quality of ${letter}` });
    const value = el("output", {});
    // A touch where the slider stands already changes nothing, and is a rating all the same.
    for (const kind of ["input", "pointerup"]) {
      slider.addEventListener(kind, () => slider.disabled || question.answer(token, Number(slider.value)));
    }
    const listen = listenButton(question, token, letter, letter);
    return { token, letter, slider, value, listen, element: el("li", {}, listen, el("div", { class: "scale" }, slider), value) };
  });
  const open = listenButton(question, reference, "Reference", "the reference");
  const scale = el("div", { class: "bands", "aria-hidden": "true" }, BANDS.map((band) => el("span", {}, band)));
  const element = el("div", { class: "mushra" },
    el("p", {}, "How close is each sound to the reference? One of them is the reference itself: it deserves 100."),
    open, scale, el("ol", {}, rows.map((row) => row.element)));

  function show() {
    showListenButtons(element, question);
    for (const { token, letter, slider, value, listen } of rows) {
      const given = question.given()[token];
      const opens = slider.disabled && question.isHeard(token) && document.activeElement === listen;
      slider.disabled = !question.isHeard(token);
      if (opens) slider.focus(); // who came by keyboard goes on by keyboard
      slider.classList.toggle("unset", given === undefined);
      if (given !== undefined) slider.value = given;
      slider.setAttribute("aria-valuetext", given === undefined ? `${letter} is not rated yet` : String(given));
      value.textContent = given ?? "–";
    }
  }

  return {
    element,
    show,
    key(name) {
      const row = rows.find(({ letter }) => letter.toLowerCase() === name);
      if (!row && name !== "r") return false;
      question.listen(row ? row.token : reference);
      if (row) (row.slider.disabled ? row.listen : row.slider).focus();
      else open.focus();
      return true;
    },
    wants() {
      const unheard = rows.filter(({ token }) => !question.isHeard(token)).map(({ letter }) => letter);
      if (!question.isHeard(reference)) unheard.unshift("the reference");
      if (unheard.length) return `Listen to ${unheard.join(", ")} for ${question.needed().toFixed(0)} seconds.`;
      const open = rows.filter(({ token }) => question.given()[token] === undefined).map(({ letter }) => letter);
      return `Move the slider of ${open.join(", ")}.`;
    },
  };
}
