// One clip, one to five: how well the sound matches its text, as the paper asked its listeners.
const GRADES = ["Not at all", "A little", "Partly", "Well", "Completely"];

function ratingView(question) {
  const [token] = question.places.rated;
  const choices = GRADES.map((label, index) => {
    const input = el("input", { type: "radio", name: "grade", value: index + 1, onchange: () => question.answer(token, index + 1) });
    return el("label", { class: "grade" }, input, el("strong", {}, String(index + 1)), el("span", {}, label));
  });
  const element = el("fieldset", { class: "grades" }, el("legend", {}, "How well does the sound match the text?"), choices);
  return {
    element,
    show() {
      element.disabled = !question.isHeard(token);
      const given = question.given()[token];
      choices.forEach((choice, index) => {
        choice.firstChild.checked = given === index + 1;
        choice.classList.toggle("chosen", given === index + 1);
      });
    },
    key(name) {
      const grade = Number(name);
      if (!(grade >= 1 && grade <= GRADES.length) || element.disabled) return false;
      question.answer(token, grade);
      return true;
    },
    wants: () => (question.isHeard(token) ? "Choose a number from 1 to 5." : "Listen to the whole clip first."),
  };
}
