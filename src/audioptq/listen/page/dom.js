const PLAN = JSON.parse(document.getElementById("plan").textContent);
const stage = document.getElementById("stage");
// Automatons must say so: a test that a program answers is no listening test.
const SIMULATED = navigator.webdriver === true || /[?&]simulated\b/.test(location.search);
const MAX_NAME = 80, MAX_COMMENT = 2000;

// Elements from a description; every text becomes a text node, so that none is ever markup.
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function button(text, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, text);
}

function key(name) {
  return el("kbd", {}, name);
}

function announce(text) {
  document.getElementById("status").textContent = text;
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}.${Math.floor((seconds * 10) % 10)}`;
}

function plural(n, noun) {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

// A slider of the keyboard, the mouse and the finger takes its keys itself; so do fields of text.
const isTextField = (element) => element.matches("textarea, input[type=text]");
const isButton = (element) => element.matches("button, summary, a");

// A button that a finger or a mouse has pressed keeps no focus, so that Space goes on to mean play.
stage.addEventListener("pointerup", (event) => {
  const control = event.target.closest("button, label");
  if (control) setTimeout(() => control.contains(document.activeElement) && stage.focus({ preventScroll: true }), 0);
});
