// Is X the same as A, or the same as B?
function abxView(question) {
  const clips = ["a", "b", "x"].map((place) => ({ place, token: question.places[place] }));
  const listens = clips.map(({ place, token }) => listenButton(question, token, place.toUpperCase(), place.toUpperCase()));
  const answers = ["a", "b"].map((choice, index) => {
    const input = el("input", { type: "radio", name: "abx", value: choice, onchange: () => question.answer("choice", choice) });
    return el("label", { class: "grade" }, input, el("strong", {}, `X is ${choice.toUpperCase()}`), el("span", { class: "keyboard" }, `key ${index + 1}`));
  });
  const fields = el("fieldset", { class: "grades two" }, el("legend", {}, "Which of the two is X?"), answers);
  const element = el("div", { class: "abx" }, el("div", { class: "listens" }, listens), fields);
  return {
    element,
    show() {
      showListenButtons(element, question);
      fields.disabled = !clips.every(({ token }) => question.isHeard(token));
      const given = question.given().choice;
      answers.forEach((answer, index) => {
        answer.firstChild.checked = given === "ab"[index];
        answer.classList.toggle("chosen", given === "ab"[index]);
      });
    },
    key(name) {
      const clip = clips.find(({ place }) => place === name);
      if (clip) question.listen(clip.token);
      else if ((name === "1" || name === "2") && !fields.disabled) question.answer("choice", "ab"[Number(name) - 1]);
      else return false;
      return true;
    },
    wants() {
      const unheard = clips.filter(({ token }) => !question.isHeard(token)).map(({ place }) => place.toUpperCase());
      if (unheard.length) return `Listen to ${unheard.join(", ")} for ${question.needed().toFixed(0)} seconds.`;
      return "Choose one. If you cannot tell, guess.";
    },
  };
}
