// All clips of a question play at once from one moment, and all but one of them are mute: switching keeps the very sample.
const FADE_SECONDS = 0.008; // shorter clicks, longer is heard as a blend
const AHEAD_SECONDS = 0.04;

class Player {
  constructor() {
    const Context = window.AudioContext ?? window.webkitAudioContext;
    try {
      this.context = new Context({ sampleRate: PLAN.sample_rate, latencyHint: "interactive" });
    } catch {
      this.context = new Context(); // it resamples while decoding, all clips alike
    }
    this.onchange = this.onheard = this.onplay = () => {};
    this.buffers = new Map();
    this.reset();
  }

  reset() {
    this.stopSources();
    Object.assign(this, { playing: false, offset: 0, loop: PLAN.mode !== "rating", from: 0, to: null, active: null, length: 0 });
    this.buffers.clear();
  }

  use(tokens, buffers) {
    this.buffers = new Map(tokens.map((token, i) => [token, buffers[i]]));
    this.length = Math.min(...buffers.map((buffer) => buffer.duration));
    this.active = tokens[0];
  }

  get end() {
    return this.to ?? this.length;
  }

  position() {
    if (!this.playing) return this.offset;
    const at = this.offset + Math.max(0, this.context.currentTime - this.startedAt);
    if (at < this.end) return at;
    return this.loop ? this.from + ((at - this.from) % (this.end - this.from)) : this.end;
  }

  play() {
    if (!this.buffers.size || this.playing) return;
    this.context.resume();
    if (this.offset >= this.end - 0.02 || this.offset < this.from) this.offset = this.from;
    this.startedAt = this.tickedAt = this.context.currentTime + AHEAD_SECONDS;
    this.sources = [...this.buffers].map(([token, buffer]) => this.startSource(token, buffer));
    this.sources[0].source.onended = () => this.ended();
    this.playing = true;
    this.timer = setInterval(() => this.tick(), 50);
    this.onplay();
    this.onchange();
  }

  startSource(token, buffer) {
    const source = new AudioBufferSourceNode(this.context, { buffer, loop: this.loop, loopStart: this.from, loopEnd: this.end });
    const gain = new GainNode(this.context, { gain: token === this.active ? 1 : 0 });
    source.connect(gain).connect(this.context.destination);
    if (this.loop) source.start(this.startedAt, this.offset);
    else source.start(this.startedAt, this.offset, this.end - this.offset);
    return { token, source, gain };
  }

  stopSources() {
    clearInterval(this.timer);
    for (const { source } of this.sources ?? []) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    this.sources = [];
  }

  ended() {
    this.tick();
    this.stopSources();
    Object.assign(this, { playing: false, offset: this.from });
    this.onchange();
  }

  pause() {
    if (!this.playing) return;
    this.tick();
    const at = this.position();
    this.stopSources();
    Object.assign(this, { playing: false, offset: at });
    this.onchange();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  // Anything that changes what the sources were started with starts them anew where they are.
  change(apply) {
    const was = this.playing;
    this.pause();
    apply();
    if (was) this.play();
    this.onchange();
  }

  seek(seconds) {
    this.change(() => (this.offset = Math.min(Math.max(seconds, 0), this.length)));
  }

  setLoop(on) {
    this.change(() => (this.loop = on));
  }

  // A stretch to loop; a second, or half of a short clip, is the least that one can judge.
  setStretch(from, to) {
    const least = Math.min(1, this.length / 2);
    this.change(() => {
      this.from = Math.max(0, Math.min(from, this.length - least));
      this.to = to === null ? null : Math.min(this.length, Math.max(to, this.from + least));
      if (from > 0 || to !== null) this.loop = true;
    });
  }

  select(token) {
    this.tick();
    this.active = token;
    const now = this.context.currentTime;
    for (const { token: of, gain } of this.sources ?? []) {
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(of === token ? 1 : 0, now + FADE_SECONDS);
    }
    this.onchange();
  }

  // Time during which a clip has sounded counts as heard.
  tick() {
    if (!this.playing) return;
    const now = this.context.currentTime;
    if (now > this.tickedAt) this.onheard(this.active, Math.min(now - this.tickedAt, this.length));
    this.tickedAt = Math.max(now, this.tickedAt);
    this.onchange();
  }
}
