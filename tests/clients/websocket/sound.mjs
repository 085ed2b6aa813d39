// Tones to send into a WebRTC call, and to hear out of it.

import { createRequire } from 'node:module';

const RATE_HERTZ = 48_000;
// Mean power of a sample below which it is silence.
const SILENCE_POWER = 1e4;
const SECONDS_KEPT = 8;

// Loaded where it is used, because jssip looks for these names when it is imported.
export function loadWebRtc() {
  const wrtc = createRequire(import.meta.url)('@roamhq/wrtc');
  for (const name of ['RTCPeerConnection', 'RTCSessionDescription', 'RTCIceCandidate', 'MediaStream']) {
    globalThis[name] = wrtc[name];
  }
  globalThis.window ??= globalThis;
  return wrtc;
}

// A stream with one tone, until `stop()`.
export function tone(wrtc, hertz) {
  const source = new wrtc.nonstandard.RTCAudioSource();
  const length = RATE_HERTZ / 100;
  let at = 0;
  const timer = setInterval(() => {
    const samples = new Int16Array(length);
    for (let i = 0; i < length; i += 1, at += 1) {
      samples[i] = 12_000 * Math.sin((2 * Math.PI * hertz * at) / RATE_HERTZ);
    }
    const format = { sampleRate: RATE_HERTZ, bitsPerSample: 16, channelCount: 1, numberOfFrames: length };
    source.onData({ samples, ...format });
  }, 10);
  const stream = new wrtc.MediaStream();
  stream.addTrack(source.createTrack());
  return { stream, stop: () => clearInterval(timer) };
}

// Keeps what the first audio track of a connection brings.
export class Listener {
  samples = [];
  rate = RATE_HERTZ;

  constructor(wrtc) {
    this.wrtc = wrtc;
  }

  attach(connection) {
    connection.addEventListener('track', (event) => this.#hear(event.track));
    for (const receiver of connection.getReceivers()) {
      if (receiver.track) this.#hear(receiver.track);
    }
  }

  // Best share of the power at this frequency in any second (Goertzel), from 0 to 1.
  share(hertz) {
    let best = 0;
    const width = this.rate;
    const k = 2 * Math.cos((2 * Math.PI * hertz) / width);
    for (let start = 0; start + width <= this.samples.length; start += width >> 1) {
      let one = 0;
      let two = 0;
      let total = 0;
      for (let i = 0; i < width; i += 1) {
        const sample = this.samples[start + i];
        [one, two] = [sample + k * one - two, one];
        total += sample * sample;
      }
      const power = (one * one + two * two - k * one * two) / (width / 2);
      if (total / width > SILENCE_POWER) best = Math.max(best, power / total);
    }
    return best;
  }

  stop() {
    this.sink?.stop();
  }

  #hear(track) {
    if (track.kind !== 'audio' || this.sink) return;
    this.sink = new this.wrtc.nonstandard.RTCAudioSink(track);
    this.sink.ondata = ({ samples, sampleRate, channelCount = 1 }) => {
      this.rate = sampleRate;
      for (let i = 0; i < samples.length; i += channelCount) this.samples.push(samples[i]);
      if (this.samples.length > this.rate * SECONDS_KEPT) this.samples.splice(0, this.rate);
    };
  }
}
